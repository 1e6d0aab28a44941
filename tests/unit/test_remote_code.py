"""Nothing that comes with a model or a data set is run: every call that could says so itself.

Left to its default, transformers asks on standard input whether to run a model's own code, and "y" there does.
"""

from __future__ import annotations

import ast

import pytest

from support import ROOT

NEVER = {
    "LoraConfig.from_pretrained": "reads one JSON file, and takes no such argument",
}

ON_REQUEST = {"lookup.py: SentenceTransformer"}
"""The user asked for it: `poolwise doctor --trust-remote-code`, which names the code without running it before."""
OWN_CODE = {
    "run_sentence_transformers.py": "runs in the check of an export, which first compares the one file of code with "
    "poolwise's own, byte by byte (tests/unit/export/test_write.py)",
}
"""Files whose loads may run the code that poolwise itself bundles, and what keeps other code out."""


def loading_calls(source: str) -> list[tuple[str, bool]]:
    """Return each call that loads something by name, and whether it refuses code that comes along."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        loads = name.endswith((".from_pretrained", ".from_config", "load_dataset")) and name not in NEVER
        # A model of modules that are already here loads nothing.
        if loads or (name.endswith(("SentenceTransformer", "CrossEncoder")) and node.args):
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            found.append((name, given.get("trust_remote_code") == "False"))
    return found


def test_every_load_refuses_remote_code() -> None:
    calls = {path.name: loading_calls(path.read_text()) for path in (ROOT / "src").rglob("*.py")}
    assert sum(map(len, calls.values())) >= 5
    loads = {f"{path}: {name}" for path, found in calls.items() for name, refuses in found if not refuses}
    assert loads == ON_REQUEST | {f"{path}: SentenceTransformer" for path in OWN_CODE}


@pytest.mark.parametrize(
    "source",
    [
        "AutoModel.from_pretrained(place)",
        "kind.from_pretrained(place, trust_remote_code=True)",
        "datasets.load_dataset(name)",
        "SentenceTransformer(name)",
        "CrossEncoder(name)",
        "from x import load_dataset\nload_dataset(name, trust_remote_code=answer)",
    ],
)
def test_loads_that_do_not_refuse_are_found(source: str) -> None:
    assert [refuses for _, refuses in loading_calls(source)] == [False]
