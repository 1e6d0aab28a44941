"""Every option, command, recipe key and file that a message, a help text or a page names exists."""

from __future__ import annotations

import ast
import re
import subprocess
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import BaseModel

from poolwise.cli.main import app
from poolwise.config import Adapt, DataConfig, EvalConfig, Prompts, Recipe, TrainConfig, TuneConfig
from support import ROOT

COMMAND: Any = typer.main.get_command(app)
OPTIONS = {
    verb: {name for option in command.params for name in option.opts} | {"--help"}
    for verb, command in COMMAND.commands.items()
}
OPTIONS[""] = {name for option in COMMAND.params for name in option.opts} | {"--help"}
ALL_OPTIONS = set().union(*OPTIONS.values())
SECTIONS: dict[str, type[BaseModel]] = {
    "train": TrainConfig,
    "data": DataConfig,
    "tune": TuneConfig,
    "adapt": Adapt,
    "eval": EvalConfig,
    "prompts": Prompts,
}
FILES = {"py", "jsonl", "json", "tsv", "csv", "parquet", "txt", "yaml", "gz", "md", "mp4", "toml"}
"""What follows a dot in a file's name, so that ``train.jsonl`` is not taken for a key."""
PAGES = [path for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))] if path.name != "log.md"]
"""Without the log, which tells of what there was when it was written."""
MODULES = sorted((ROOT / "src" / "poolwise").rglob("*.py"))

_OPTION = re.compile(r"(?<![\w-])(--[a-z][a-z-]*[a-z])(?![\w])")
_KEY = re.compile(r"(?<![\w./-])(train|data|tune|adapt|eval)\.([a-z_]+)\b(?!\()")
_COMMAND = re.compile(
    r"(?:`|\$ |; |^ *|\bor |\brun |\bof |\bwith )poolwise (?:--\w+ )*([a-z]+)\b(?!/)([^`\n]*)", re.MULTILINE
)
_CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.MULTILINE | re.DOTALL)
_ADVICE = re.compile(r"\b(?:give|set|lower|raise|use|try) `?([a-z]+_[a-z_]+|[a-z_]+(?==))")
_PATH = re.compile(r"(?<![\w/.-])((?:src|tests|docs|benchmarks|scripts|recipes)/[\w./*{}-]*\w)")
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def options_of_scripts() -> set[str]:
    """Return the options of benchmarks, scripts and examples, which pages and measured constants name."""
    files = [path for name in ("benchmarks", "scripts", "examples") for path in (ROOT / name).rglob("*.py")]
    return {name for path in files for name in re.findall(r"\"(--[a-z-]+)\"", path.read_text())}


THEIRS = {"eos_token", "pad_token", "padding_side", "max_seq_length", "include_prompt", "is_causal"}
"""Keys of other programs' files: config.json, tokenizer_config.json, sentence_bert_config.json, the pooling's."""
FOREIGN = {"--group", "--depth", "--no-deps", "--only-binary", "--no-input", "--disable-pip-version-check", "--dest"}
FOREIGN |= {"--nproc-per-node", "--merge", "--outfile", "--outtype", "--embeddings", "--parallel", "--host", "--port"}
FOREIGN |= {"--cache-type-k", "--cache-type-v", "--flash-attn", "--build-arg", "--find-links"}
"""Options of other programs: pip, git, torchrun, buildah, and llama.cpp's splitter, converter and server."""


def literals(source: str) -> Iterator[tuple[int, str, bool]]:
    """Yield (line, text, is a docstring) of every string of a module; of f-strings what is fixed, ``{}`` between."""
    tree = ast.parse(source)
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else "{}" for part in node.values]
            yield node.lineno, "".join(map(str, parts)), False
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.lineno, node.value, id(node) in bare


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Yield (verb, the rest) of every ``poolwise VERB ...`` in a text."""
    for found in _COMMAND.finditer(text):
        # "poolwise reads them" is no command; a verb, an option or an argument that is no word follows in one.
        if found[1] in OPTIONS or re.match(r" (--|[./<A-Z]|\w+[./])|$", found[2]):
            yield found[1], found[2]


def wrong_options(text: str, known: set[str]) -> list[str]:
    wrong = [name for name in _OPTION.findall(text) if name not in known]
    for verb, rest in commands(text):
        if verb not in OPTIONS:
            wrong.append(f"poolwise {verb}")
            continue
        # What follows a comma or the next command belongs to something else.
        own = re.split(r"[,;|]| poolwise ", rest)[0]
        wrong += [f"poolwise {verb} {name}" for name in _OPTION.findall(own) if name not in OPTIONS[verb]]
    return wrong


def wrong_keys(text: str) -> list[str]:
    return [
        f"{section}.{key}"
        for section, key in _KEY.findall(text)
        if key not in SECTIONS[section].model_fields and key not in FILES
    ]


def wrong_advice(text: str) -> list[str]:
    """Return what a message tells the user to set, although no option and no recipe key has that name."""
    keys = {key for kind in (Recipe, *SECTIONS.values()) for key in kind.model_fields}
    keys |= {name.removeprefix("--").replace("-", "_") for name in ALL_OPTIONS}
    return [name for name in _ADVICE.findall(text) if name not in keys | THEIRS]


def has_key(kind: type[BaseModel], keys: list[str]) -> bool:
    """Return whether a dotted key leads somewhere in a model of the recipe."""
    if keys[0] not in kind.model_fields:
        return False
    annotation = kind.model_fields[keys[0]].annotation
    inner = [annotation, *typing.get_args(annotation)]
    models = [part for part in inner if isinstance(part, type) and issubclass(part, BaseModel)]
    return len(keys) == 1 or keys[0] == "prompts" or any(has_key(model, keys[1:]) for model in models)


def wrong_overrides(text: str) -> list[str]:
    """Return the keys after ``--set`` that no recipe has; ``poolwise train`` takes those of one section."""
    wrong = []
    for line in text.splitlines():
        known = TrainConfig if re.search(r"poolwise train\b", line) else Recipe
        for key in re.findall(r"--set[ =]([a-z][\w.]*)=", line):
            if not has_key(known, key.split(".")) and not has_key(TrainConfig, key.split(".")):
                wrong.append(f"--set {key}")
    return wrong


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_messages_name_exists(path: Path) -> None:
    wrong = []
    for line, text, is_docstring in literals(path.read_text()):
        known = ALL_OPTIONS | FOREIGN | (options_of_scripts() if is_docstring else set())
        found = wrong_options(text, known) + wrong_keys(text) + wrong_overrides(text)
        found += [] if is_docstring else wrong_advice(text)
        wrong += [f"line {line}: {name}" for name in found]
    assert wrong == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_pages_name_exists(path: Path) -> None:
    text = path.read_text()
    known = ALL_OPTIONS | options_of_scripts() | FOREIGN
    wrong = wrong_options(text, known) + wrong_keys(text) + wrong_overrides(text)
    tracked = set(subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split())
    for name in _PATH.findall(text):
        pattern = re.sub(r"\{[^}]*\}", "*", name)
        if not any(ROOT.glob(pattern)) and name not in tracked:
            wrong.append(name)
    for name in _LINK.findall(text):
        if not name.startswith(("http", "mailto:")) and not (path.parent / name).exists():
            wrong.append(f"link to {name}")
    assert wrong == []


@pytest.mark.parametrize(
    "text",
    [
        "lower --worker and run again",
        "see `poolwise evaluate`",
        "poolwise train --base x --limit 3 makes one",
        "run `poolwise --quiet study x.yaml --data y`",
        "lower eval.batchsize",
        "set train.mini_batch_size or train.max_length",
        "poolwise study r.yaml --set train.step=5",
        "too few; give num_resamples of 100 or more",
        "no seeds; use primary='tasks'",
    ],
)
def test_what_does_not_exist_is_found(text: str) -> None:
    assert wrong_options(text, ALL_OPTIONS) + wrong_keys(text) + wrong_overrides(text) + wrong_advice(text)


def test_what_exists_is_left_alone() -> None:
    text = (
        "run `poolwise --quiet study r.yaml --set train.steps=5 --set seeds=[0]`, lower eval.batch_size or --workers; "
        "train.jsonl, data.parquet; poolwise reads it; poolwise eval ./m --tasks t --out o, with --json"
    )
    assert wrong_options(text, ALL_OPTIONS) + wrong_keys(text) + wrong_overrides(text) == []
