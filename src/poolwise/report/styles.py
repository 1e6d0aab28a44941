"""How figures draw a design: colour shows the pooling; filled, pale or hollow shows the attention; plus a number.

Nothing is shown by colour alone: where marks can be confused, each has its number beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from poolwise.attentions import parse_attention
from poolwise.design import parse_design
from poolwise.errors import ConfigError
from poolwise.report.blocks import LegendEntry

NUM_COLOURS = 8


@dataclass(frozen=True)
class Style:
    number: int
    colour: int
    is_hollow: bool
    is_pale: bool = False

    @property
    def classes(self) -> str:
        """CSS classes of the design's marks and lines: hollow and dashed for causal, pale and dotted for attention that
        is causal in some layers or outside the prompt."""
        return f"c{self.colour}{' hollow' if self.is_hollow else ' pale' if self.is_pale else ''}"


def assign_styles(names: Sequence[str]) -> dict[str, Style]:
    """Return a style for each name; designs with the same pooling share a colour."""
    colours: dict[str, int] = {}
    styles = {}
    for number, name in enumerate(names, start=1):
        pooling, is_hollow, is_pale = _parts(name)
        colour = colours.setdefault(pooling, len(colours) % NUM_COLOURS + 1)
        styles[name] = Style(number, colour, is_hollow, is_pale)
    return styles


def pale_words(styles: dict[str, Style], sign: str) -> str:
    """Return the caption text for pale marks or dotted lines; empty if there are none."""
    return f"{sign}: partly bidirectional" if any(style.is_pale for style in styles.values()) else ""


def legend(styles: dict[str, Style]) -> list[LegendEntry]:
    """Return the legend of all designs, ordered by number."""
    return [LegendEntry(style.number, name, style.classes) for name, style in styles.items()]


def _parts(name: str) -> tuple[str, bool, bool]:
    try:
        design = parse_design(name)
    except ConfigError:  # a foreign model: only its name is known
        return name, False, False
    return design.pooling_text, design.attention == "causal", parse_attention(design.attention).is_partial
