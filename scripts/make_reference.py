"""Write docs/reference/ from the code: designs, recipe keys, commands. ``--check`` only compares.

make docs
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from poolwise.config import Recipe
from poolwise.design import DEFAULTS, PAPER, POOLINGS, OptionKind

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "reference"
NOTE = "<!-- Made from the code by `make docs`; edits here are lost. -->\n\n"


def designs_page() -> str:
    """Return the page of poolings, their options, and the paper's designs."""
    lines = ["# Designs", "", "A design is `pooling+attention`, with options in parentheses after the pooling:"]
    lines += ["`latent(keys=last)+causal`. The attention is `causal` or `bidirectional`.", "", "## Poolings", ""]
    lines += ["| pooling | trains | what it returns | options (default first) |", "|---|---|---|---|"]
    for name, spec in POOLINGS.items():
        options = ", ".join(_option(key, kind) for key, kind in spec.options.items())
        lines.append(f"| `{name}` | {'yes' if spec.is_trainable else 'no'} | {spec.summary} | {options} |")
    lines += [
        "",
        "`tokens` says which state stands for a layer (or enters the MLP): `last` under causal and `mean` under",
    ]
    lines += ["bidirectional attention unless written. `prompt=skip` leaves the prompt's tokens out of the pooling."]
    lines += ["`size=auto` scales with the hidden size d: max(16, 3d/16) latents, max(4, d/128) heads of d/2, which is"]
    lines += ["the paper's 768 x 32 x 2048 at d = 4096; `size=paper` takes those numbers at any d.", ""]
    lines += ["## The paper's designs", "", "| alias | design | which way we went |", "|---|---|---|"]
    lines += [f"| `{alias}` | `{paper.design}` | {paper.decision} |" for alias, paper in PAPER.items()]
    return "\n".join(lines) + "\n"


def _option(name: str, kind: OptionKind) -> str:
    if isinstance(kind, tuple):
        default = DEFAULTS.get(name)
        words = sorted(kind, key=lambda word: word != default)
        return f"`{name}={'/'.join(words)}`"
    return f"`{name}={'true/false' if kind is bool else 'N'}`"


def recipe_page() -> str:
    """Return the page of recipe keys with type, default and meaning."""
    lines = ["# Recipe", "", "A recipe is YAML. An unknown key is an error. Every key can be set on the command line:"]
    lines += ["`--set train.learning_rate=2e-5`.", "", "| key | type | default | meaning |", "|---|---|---|---|"]
    return "\n".join(lines + _rows(Recipe, "")) + "\n"


def _rows(model: type[BaseModel], prefix: str) -> list[str]:
    rows = []
    for name, field in model.model_fields.items():
        sections = [part for part in (field.annotation, *get_args(field.annotation)) if _is_model(part)]
        if sections and not str(field.annotation).startswith(("dict", "list")):
            rows += _rows(sections[0], f"{prefix}{name}.")
        else:
            rows.append(f"| `{prefix}{name}` | {_type(field)} | {_default(field)} | {field.description or ''} |")
    return rows


def _is_model(part: Any) -> bool:
    return isinstance(part, type) and issubclass(part, BaseModel)


def _type(field: FieldInfo) -> str:
    text = field.annotation.__name__ if isinstance(field.annotation, type) else str(field.annotation)
    for noise in ("typing.", "poolwise.config.", "poolwise.records."):
        text = text.replace(noise, "")
    return f"`{text}`".replace("|", "\\|")


def _default(field: FieldInfo) -> str:
    return "required" if field.is_required() else f"`{field.default!r}`"


PAGES = {"designs.md": designs_page, "recipe.md": recipe_page}


def main() -> int:
    """Write the pages, or with ``--check`` say which are out of date."""
    stale = []
    for name, make in PAGES.items():
        path, text = FOLDER / name, NOTE + make()
        if path.is_file() and path.read_text() == text:
            continue
        stale.append(name)
        if "--check" not in sys.argv:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    print(f"{'stale' if '--check' in sys.argv else 'written'}: {', '.join(stale) or 'none'}")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
