"""Export a design of each kind to every target and write the table into docs/results/exports.md.

python scripts/export_table.py [DESIGN ...]    with designs: print their rows only

The base is poolwise/nano; for llama.cpp, whose converter takes the tokenizers it knows, poolwise/smollm2. Adapter
and head of each model are moved from where they start, so that an export that loses one of them differs. A cell says
how far the embeddings of a process that cannot import poolwise are from poolwise's: the largest absolute difference of
unit vectors over the probe set.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from poolwise.design import parse_design
from poolwise.errors import ConfigError, ModelError
from poolwise.export.check import compare
from poolwise.export.golden import load_golden, make_golden, save_golden, save_texts
from poolwise.export.targets import TARGETS, load_target
from poolwise.models import EmbeddingModel, build_model
from poolwise.storage.whole_files import write_text
from poolwise.study.provenance import machine

PAGE = Path(__file__).resolve().parent.parent / "docs" / "results" / "exports.md"
PROMPTS = {"query": "search query: ", "document": "document: "}
DESIGNS = (
    *("last+causal", "last+bidirectional", "mean+causal", "mean+bidirectional"),
    *("weighted_mean+causal", "weighted_mean+bidirectional", "mean(dim=64)+bidirectional"),
    *("mean(skip=bos)+causal", "mean(prompt=skip)+bidirectional", "mean(echo=true)+causal"),
    *("soft_tokens(count=2)+causal", "landmark(every=4)+causal", "mlp+causal"),
    *("latent+bidirectional", "latent(keys=last)+causal"),
    *("nv_latent+bidirectional", "pma+bidirectional", "layer_mean+causal", "layer_mix+causal"),
    *("multilayer+causal", "multilayer+bidirectional", "mean+bidirectional(top=4)", "mean+bidirectional(on=prompt)"),
)
_INTRODUCTION = """# Exports

`python scripts/export_table.py` on `poolwise/nano`, with adapter and head moved from where they start. The exports were
loaded in a process that cannot import poolwise. A number is the largest absolute difference of unit vectors from
poolwise's over the probe set, in fp32. *with code*: it needs `trust_remote_code=True`, which runs the bundled file.
*refused*: the target cannot express the design; `sentence-transformers` takes every design. In int8 each text is read
alone, because it would depend on its batch.
"""
_LLAMA = """## llama.cpp

The same for the target `gguf` on `poolwise/smollm2`: llama.cpp's converter takes only tokenizers that it knows.
`llama-server` read the file with attention in fp32. All other designs are refused.
"""
_RUN_ALL = """
import json, runpy, sys, traceback
sys.modules["poolwise"] = None
for job in json.load(open(sys.argv[1])):
    sys.argv = job
    try:
        runpy.run_path(job[0], run_name="__main__")
    except Exception:
        traceback.print_exc()
"""
GGUF_BASE, GGUF = "poolwise/smollm2", "gguf"
GGUF_DESIGNS = ("last+causal", "last+bidirectional", "mean+causal", "mean+bidirectional")
_INT8 = "onnx, int8"
"""A column beside the targets: the same graph with rounded matrices."""
_LIBRARIES = ("torch", "transformers", "sentence-transformers", "onnxruntime", "gguf")


def moved_model(design: str, base: str = "poolwise/nano", **settings: Any) -> EmbeddingModel:
    """Return a model in evaluation mode whose trained parameters were all moved from where they start."""
    settings = {"max_tokens": 128, "precision": "fp32", "prompts": PROMPTS} | settings
    model = build_model(design, base, device="cpu", **settings).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                size = 0.1 if weight.ndim == 1 else 0.3 / weight.shape[-1] ** 0.5
                weight.add_(torch.randn(weight.shape, generator=generator) * size)
    return model


def usable_targets() -> list[str]:
    """Return the targets whose libraries are installed, without ``gguf``; ``onnx`` has a second column, in int8."""
    found = []
    for name in TARGETS:
        with contextlib.suppress(ConfigError):
            load_target(name)
            found += [name, _INT8] if name == "onnx" else [name] if name != GGUF else []
    return found


def has_llama() -> bool:
    """Return whether llama.cpp's converter and server are there."""
    try:
        gguf: Any = load_target(GGUF)
        gguf.find_converter()
        gguf.require_server()
    except ConfigError:
        return False
    return True


def write_exports(design: str, place: Path, targets: Sequence[str], base: str) -> dict[str, str]:
    """Write a design for each target that takes it into ``place``; return what became of the others, by target."""
    model, cells = moved_model(design, base), {}
    for name in targets:
        target = load_target(name.partition(",")[0])
        if target.refusal(model):
            cells[name] = "refused"
            continue
        folder = place / f"{parse_design(design).slug}-{name}"
        folder.mkdir()
        try:
            target.write(model, folder, options={"int8": True} if name == _INT8 else {})
        except ModelError as error:
            cells[name] = f"failed: {error}"
            shutil.rmtree(folder)
            continue
        save_golden(make_golden(model, name.partition(",")[0], target.TOLERANCE), folder)
        save_texts(load_golden(folder).record.texts, place / f"{folder.name}.json")
    return cells


def run_exports(place: Path) -> None:
    """Embed the texts of each export below ``place`` in one process that cannot import poolwise."""
    jobs = [
        [load_target(load_golden(folder).record.target).RUNNER, str(folder), f"{folder}.json", f"{folder}.npy"]
        for folder in sorted(place.iterdir())
        if folder.is_dir()
    ]
    (place / "jobs.txt").write_text(json.dumps(jobs))
    offline = {"HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(place / "modules.cache")}
    command = [sys.executable, "-P", "-c", _RUN_ALL, str(place / "jobs.txt")]
    subprocess.run(command, env={**os.environ, **offline}, check=True)


def cell(folder: Path) -> str:
    """Return how far an export is from poolwise, or that it does not load."""
    out = folder.with_name(f"{folder.name}.npy")
    if not out.is_file():
        return "does not load"
    worst = compare(load_golden(folder), np.load(out), folder).worst
    return f"{worst:.0e}{', with code' if any(folder.glob('*.py')) else ''}"


def table(designs: Sequence[str], targets: Sequence[str], base: str = "poolwise/nano") -> list[str]:
    """Return the rows of the table."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        left = {design: write_exports(design, place, targets, base) for design in designs}
        run_exports(place)
        return [
            " | ".join(
                [f"| `{design}`"]
                + [left[design].get(name) or cell(place / f"{parse_design(design).slug}-{name}") for name in targets]
            )
            + " |"
            for design in designs
        ]


def _headed(targets: Sequence[str], rows: Sequence[str]) -> list[str]:
    return [f"| design | {' | '.join(targets)} |", f"|---|{'---|' * len(targets)}", *rows, ""]


def main(designs: list[str]) -> None:
    """Print the rows of some designs, or write the page of all."""
    targets = usable_targets()
    rows = table(designs or DESIGNS, targets)
    if designs:
        print("\n".join(rows))
        return
    versions = []
    for name in _LIBRARIES:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    where = f"{datetime.date.today()}, {machine()['processor']}, {', '.join(versions)}."
    tables = [_INTRODUCTION, *_headed(targets, rows)]
    if has_llama():
        tables += [_LLAMA, *_headed([GGUF], table(GGUF_DESIGNS, [GGUF], GGUF_BASE))]
    else:
        where += " The target gguf was left out, because llama.cpp was not there."
    write_text(PAGE, "\n".join([*tables, where, ""]))
    print(PAGE)


if __name__ == "__main__":
    main(sys.argv[1:])
