"""Write docs/reference/ and docs/architecture.md from the code; ``--check`` only compares.

make docs
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, get_args

from _api import api_page
from _architecture import IMAGES, page_text, rooms_svg, way_svg
from _pages import replace_between
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from poolwise.checks import LINES
from poolwise.checks.fix import FIXES
from poolwise.config import Recipe
from poolwise.design import DEFAULTS, PAPER, POOLINGS, OptionKind, default_tokens
from poolwise.layer_subsets import LayerSubset

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "reference"
DOCTOR = ROOT / "docs" / "how-to" / "doctor.md"
NOTE = "<!-- Made from the code by `make docs`; edits here are lost. -->\n\n"


def designs_page() -> str:
    """Return the page of poolings, their options, and the paper's designs."""
    lines = ["# Designs", "", "A design is `pooling+attention`, with options in parentheses after either:"]
    lines += ["`latent(keys=last)+causal`, `multilayer(layers=last4)+bidirectional(top=4)`.", "", "## Attentions", ""]
    lines += ["| attention | which tokens a token sees | a layer stands for a text by |", "|---|---|---|"]
    lines += [
        f"| `{text}` | {words} | its {_STANDS[default_tokens(text.replace('N', '1'))]} |"
        for text, words in _ATTENTIONS.items()
    ]
    lines += [
        "",
        "A partial attention is proved by behaviour as the others are: with `top=N` token 0 must not move below",
    ]
    lines += [
        "the top N layers when the last token is exchanged, and must move from there on; with `on=prompt` token 0"
    ]
    lines += ["must move with the prompt's last token and never with the text. `all` in a recipe leaves them out.", ""]
    lines += ["## Poolings", ""]
    lines += ["| pooling | trains | what it returns | options (default first) |", "|---|---|---|---|"]
    for name, spec in POOLINGS.items():
        options = ", ".join(_option(key, kind) for key, kind in spec.options.items())
        lines.append(f"| `{name}` | {'yes' if spec.is_trainable else 'no'} | {spec.summary} | {options} |")
    lines += [
        "",
        "`tokens` says which state stands for a layer (or enters the MLP): by the attention, as above, unless written.",
    ]
    lines += ["`prompt=skip` leaves the prompt's tokens out of the pooling. `layers` pools some of the layers 1 .. L:"]
    lines += ["`last4` the last four, `every2` every second from the last down, `5-8` a range, `6` one."]
    lines += [
        "`input=raw` gives `multilayer` the layers' states as they are, which is how the paper's weights were trained."
    ]
    lines += ["`skip=bos` leaves the first token out: BOS where the tokenizer adds one, else the text's first token."]
    lines += ["Decoders use it as an attention sink, so its state is large and says little about the text."]
    lines += ["`echo=true` lets the base read every text twice (BOS, prompt, text, text, EOS). The second occurrence"]
    lines += ["and EOS are pooled. `max_tokens` counts the text once, so it is truncated where other designs truncate"]
    lines += ["it, and the base reads up to twice as many tokens."]
    lines += ["`soft_tokens` appends `count=1` trained tokens after EOS and pools only them; `max_tokens` does not"]
    lines += ["count them. `all` leaves it out, because a screen by heads cannot try it."]
    every = DEFAULTS["every"]
    lines += [
        f"`landmark` reads EOS after every N = {every} tokens of the text, counted after the prompt, and pools these"
    ]
    lines += ["and the EOS at the end. `max_tokens` does not count those before the end. `all` leaves it out too."]
    lines += ["`size=auto` scales with the hidden size d: max(16, 3d/16) latents, max(4, d/128) heads of d/2, which is"]
    lines += ["the paper's 768 x 32 x 2048 at d = 4096; `size=paper` takes those numbers at any d."]
    lines += ["`pma` has one query unless written, and the largest number of heads up to max(4, N/128) that divides"]
    lines += ["its width N: that of the base, or `dim=N`. Each head is N / heads wide. `dim=N` gives embeddings of N"]
    lines += ["dimensions: by a trained linear map after the pooling, in `pma` by itself.", ""]
    lines += ["## The paper's designs", "", "| alias | design | which way we went |", "|---|---|---|"]
    lines += [f"| `{alias}` | `{paper.design}` | {paper.decision} |" for alias, paper in PAPER.items()]
    return "\n".join(lines) + "\n"


_ATTENTIONS = {
    "causal": "those before it",
    "bidirectional": "all",
    "bidirectional(top=N)": "those before it; all in the last N layers",
    "bidirectional(on=prompt)": "in the prompt, the prompt's; elsewhere those before it; causal without a prompt",
}
_STANDS = {"last": "last token", "mean": "mean"}


def _option(name: str, kind: OptionKind) -> str:
    if kind is LayerSubset:
        return f"`{name}=all/lastN/everyN/A-B/N`"
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
    text = re.sub(r"typing\.|poolwise(\.\w+)*\.", "", text)
    return f"`{text}`".replace("|", "\\|")


def _default(field: FieldInfo) -> str:
    return "required" if field.is_required() else f"`{field.default!r}`"


def doctor_page() -> str:
    """Return the doctor's page, with its tables made from the checks."""
    lines = ["| line | measures | guards against | to do |", "|---|---|---|---|"]
    for name, line in LINES.items():
        cells = (f"`{name}`", line.measures, line.guards or "(a figure)", line.todo)
        lines.append(f"| {' | '.join(cells)} |")
    fixes = ["| line | setting |", "|---|---|", *(f"| `{name}` | {fix.setting} |" for name, fix in FIXES.items())]
    page = replace_between(DOCTOR.read_text(), "lines", "\n".join(lines))
    return replace_between(page, "fixes", "\n".join(fixes))


def pages() -> dict[Path, str]:
    """Return every made file and its text."""
    return {
        FOLDER / "designs.md": NOTE + designs_page(),
        FOLDER / "recipe.md": NOTE + recipe_page(),
        FOLDER / "api.md": NOTE + api_page(),
        DOCTOR: doctor_page(),
        ROOT / "docs" / "architecture.md": NOTE + page_text(),
        IMAGES / "rooms.svg": rooms_svg(),
        IMAGES / "data-way.svg": way_svg(),
    }


def main() -> int:
    """Write the pages, or with ``--check`` say which are out of date."""
    is_check = "--check" in sys.argv
    stale = {path: text for path, text in pages().items() if not path.is_file() or path.read_text() != text}
    if not is_check:
        for path, text in stale.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    print(f"{'stale' if is_check else 'written'}: {', '.join(path.name for path in stale) or 'none'}")
    return 1 if stale and is_check else 0


if __name__ == "__main__":
    sys.exit(main())
