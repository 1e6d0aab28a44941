"""The README.md of an export: how to load it, what it is, and how exactly it was checked."""

from __future__ import annotations

from pathlib import Path

from poolwise.export.check import Checked
from poolwise.export.targets import Target
from poolwise.models.backbone import Backbone
from poolwise.models.embedding_model import EmbeddingModel
from poolwise.storage.whole_files import write_text


def write_readme(
    folder: Path, model: EmbeddingModel, target: Target, checked: Checked, notes: str | None = None
) -> None:
    """Write the README.md of an export that was checked; ``notes`` is what the target says about this export."""
    write_text(folder / "README.md", readme_text(model, target, checked, notes))


def readme_text(model: EmbeddingModel, target: Target, checked: Checked, notes: str | None = None) -> str:
    """Return the README.md of an export."""
    backbone, golden = model[0], checked.golden
    assert isinstance(backbone, Backbone)
    versions = ", ".join(f"{name} {version}" for name, version in golden.versions.items())
    prompts = "".join(f"- `{name}`: {prompt!r}\n" for name, prompt in model.prompts.items() if prompt)
    return f"""# {golden.design}, exported to {golden.target}

{target.usage(model).strip()}{f"{chr(10)}{chr(10)}{notes.strip()}" if notes else ""}

## The model

- Design: `{golden.design}` (pooling + attention)
- Base: {Path(backbone.base).name if Path(backbone.base).is_absolute() else backbone.base}
- Width of the embeddings: {model.get_embedding_dimension()}
- Texts are truncated to {backbone.max_tokens} tokens, EOS included.
{f"- Prompts:{chr(10)}{_indented(prompts)}" if prompts else "- No prompts"}

## Check

A fresh process without poolwise loaded this folder and embedded the {len(golden.texts)} texts in `golden.json`. Its
unit vectors differ from poolwise's, in `golden.npy`, by at most {checked.worst:.1e}
({golden.tolerance:.0e} is allowed). `poolwise verify FOLDER` repeats this on another machine.

Made with {versions}.
"""


def _indented(lines: str) -> str:
    return "".join(f"  {line}\n" for line in lines.splitlines()).rstrip("\n")
