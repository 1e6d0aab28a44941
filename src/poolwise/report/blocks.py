"""The blocks of a report (tables, figures, paragraphs), independent of HTML, Markdown and LaTeX.

All text here is plain; each renderer escapes it for its format.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Tone = Literal["", "better", "worse", "equal", "undecided", "muted", "strong"]
CsvValue = str | float | int | None


@dataclass(frozen=True)
class Csv:
    """The numbers of a table or figure, in full precision."""

    header: Sequence[str]
    rows: Sequence[Sequence[CsvValue]]


@dataclass(frozen=True)
class Cell:
    """One cell: its text, its sort key (the text if None), and a small second line."""

    text: str
    sort: float | None = None
    note: str = ""
    tone: Tone = ""


@dataclass(frozen=True)
class Column:
    title: str
    note: str = ""
    is_number: bool = False


@dataclass(frozen=True)
class Table:
    """A table whose first column names its rows; ``is_grid``: its cells are symbols, and it stays a grid on a phone.

    Law: every row has as many cells as there are columns.
    """

    key: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    csv: Csv | None = None
    note: str = ""
    is_sortable: bool = False
    is_grid: bool = False
    breaks: Sequence[int] = field(default=(), metadata={"description": "rows with a line drawn above"})


@dataclass(frozen=True)
class Panel:
    """One drawing of a figure: its heading, its SVG, and its content in words."""

    title: str
    svg: str
    alt: str


@dataclass(frozen=True)
class LegendEntry:
    """How figures draw a design: number, name, and CSS classes for colour and marker."""

    number: int
    name: str
    classes: str


@dataclass(frozen=True)
class Figure:
    """Drawings that share a caption, a legend and one CSV file."""

    key: str
    caption: str
    panels: Sequence[Panel]
    csv: Csv
    legend: Sequence[LegendEntry] = ()
    is_dense: bool = False


@dataclass(frozen=True)
class Item:
    """One item of a task: its id, and its texts with their roles (query, label ...)."""

    name: str
    texts: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class ItemContrast:
    """The items on which two designs differ most: index in the drill-down's items, score of ``a``, score of ``b``."""

    a: str
    b: str
    a_higher: Sequence[tuple[int, float, float]]
    b_higher: Sequence[tuple[int, float, float]]


@dataclass(frozen=True)
class Drilldown:
    """The items behind one task's differences; a text shown in several contrasts is stored once."""

    key: str
    note: str
    items: Sequence[Item]
    contrasts: Sequence[ItemContrast]


@dataclass(frozen=True)
class Card:
    """The decision for one use: which model, its scores beside the baselines, and how to load it.

    ``kind`` is "stop" where a baseline is higher: such a card is no recommendation. ``scores`` are name and score, the
    model first. ``command`` and ``python`` are empty where there is nothing to load.
    """

    title: str
    kind: Literal["decided", "open", "stop"]
    name: str
    sentence: str
    warning: str = ""
    scores: Sequence[tuple[str, float]] = ()
    details: Sequence[tuple[str, str]] = ()
    command: str = ""
    python: str = ""
    is_main: bool = True

    @property
    def label(self) -> str:
        """What the name is: a model to use only where nothing warns of it."""
        return "Best of those compared" if self.warning else "Use"


CHIPS = {"decided": "decided", "open": "not decided", "stop": "do not deploy"}


@dataclass(frozen=True)
class Cards:
    items: Sequence[Card]


@dataclass(frozen=True)
class Paragraph:
    text: str


@dataclass(frozen=True)
class Bullets:
    items: Sequence[str]


@dataclass(frozen=True)
class Definitions:
    """Terms and their descriptions."""

    items: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Code:
    text: str
    language: str = ""


@dataclass(frozen=True)
class Folded:
    """Blocks that are collapsed at first: long, and not needed for the verdict."""

    summary: str
    blocks: Sequence[Block]


Block = Table | Figure | Drilldown | Cards | Paragraph | Bullets | Definitions | Code | Folded


@dataclass(frozen=True)
class Section:
    """A part of the report; ``is_folded``: closed on narrow screens until the reader opens it."""

    key: str
    title: str
    blocks: Sequence[Block]
    is_folded: bool = True


@dataclass(frozen=True)
class Document:
    """A whole report: title, facts about the study, warnings, and sections in reading order."""

    title: str
    facts: Sequence[tuple[str, str]]
    sections: Sequence[Section]
    warnings: Sequence[str] = ()
