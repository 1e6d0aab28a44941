"""Export a design of each kind to every target and write the table into docs/results/exports.md.

python scripts/export_table.py [DESIGN ...]    with designs: print their rows only

The base is poolwise/nano. Adapter and head of each model are moved from where they start, so that an export that loses
one of them differs. A cell says how far the embeddings of a fresh process without poolwise are from poolwise's: the
largest absolute difference of unit vectors over the probe set.
"""

from __future__ import annotations

import datetime
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from poolwise.errors import ConfigError, ModelError
from poolwise.export import TARGETS, export_model
from poolwise.models import EmbeddingModel, build_model
from poolwise.storage.whole_files import write_text
from poolwise.study.provenance import machine

PAGE = Path(__file__).resolve().parent.parent / "docs" / "results" / "exports.md"
PROMPTS = {"query": "search query: ", "document": "document: "}
DESIGNS = (
    *("last+causal", "last+bidirectional", "mean+causal", "mean+bidirectional"),
    *("weighted_mean+causal", "weighted_mean+bidirectional", "mean(dim=64)+bidirectional"),
    *("mean(skip=bos)+causal", "mean(prompt=skip)+bidirectional", "mean(echo=true)+causal"),
    *("soft_tokens(count=2)+causal", "mlp+causal", "latent+bidirectional", "latent(keys=last)+causal"),
    *("nv_latent+bidirectional", "pma+bidirectional", "layer_mean+causal", "layer_mix+causal"),
    *("multilayer+causal", "multilayer+bidirectional", "mean+bidirectional(top=4)", "mean+bidirectional(on=prompt)"),
)
_INTRODUCTION = """# Exports

`python scripts/export_table.py` on `poolwise/nano`, with adapter and head moved from where they start. Each export was
loaded in a fresh process without poolwise. A number is the largest absolute difference of unit vectors from poolwise's
over the probe set, in fp32. *with code*: it loads with `trust_remote_code=True`, which runs the bundled file.
*refused*: the target cannot express the design; `sentence-transformers` takes every design.
"""
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


def cell(model: EmbeddingModel, target: str) -> str:
    """Return what became of one export."""
    with tempfile.TemporaryDirectory() as place:
        try:
            checked = export_model(model, target, Path(place) / "export")
        except ConfigError:
            return "not installed"
        except ModelError as error:
            return "refused" if "cannot be exported" in str(error) else f"failed: {error}"
        code = ", with code" if any((Path(place) / "export").glob("*.py")) else ""
        return f"{checked.worst:.0e}{code}"


def row(design: str) -> str:
    """Return the row of a design."""
    model = moved_model(design)
    cells = [cell(model, target) for target in TARGETS]
    print(design, *cells, file=sys.stderr)
    return f"| {' | '.join([f'`{design}`', *cells])} |"


def main(designs: list[str]) -> None:
    """Print the rows of some designs, or write the page of all."""
    rows = [row(design) for design in designs or DESIGNS]
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
    head = [f"| design | {' | '.join(TARGETS)} |", f"|---|{'---|' * len(TARGETS)}"]
    write_text(PAGE, "\n".join([_INTRODUCTION, *head, *rows, "", where, ""]))
    print(PAGE)


if __name__ == "__main__":
    main(sys.argv[1:])
