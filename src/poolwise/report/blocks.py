"""What a report is made of, before it is HTML, Markdown or LaTeX.

All text here is plain: each renderer escapes for its own format.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Tone = Literal["", "better", "worse", "equal", "undecided", "muted", "strong"]
CsvValue = str | float | int | None


@dataclass(frozen=True)
class Csv:
    """Numbers behind a table or a figure, in full precision."""

    header: Sequence[str]
    rows: Sequence[Sequence[CsvValue]]


@dataclass(frozen=True)
class Cell:
    """One cell: what is shown, what it sorts by (its text if None), and a small second line."""

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
    """A table whose first column names its rows.

    Law: every row has as many cells as there are columns.
    """

    key: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    csv: Csv | None = None
    note: str = ""
    is_sortable: bool = False
    breaks: Sequence[int] = field(default=(), metadata={"description": "rows that a line is drawn above"})


@dataclass(frozen=True)
class Panel:
    """One drawing of a figure: its heading, the SVG, and what it says in words."""

    title: str
    svg: str
    alt: str


@dataclass(frozen=True)
class LegendEntry:
    """A design's number, colour class and marker, as figures draw it."""

    number: int
    name: str
    classes: str


@dataclass(frozen=True)
class Figure:
    """Drawings that share a caption, a legend and one file of numbers."""

    key: str
    caption: str
    panels: Sequence[Panel]
    csv: Csv
    legend: Sequence[LegendEntry] = ()
    is_dense: bool = False


@dataclass(frozen=True)
class Item:
    """One item of a task: its id, and its texts by what they are (query, label ...)."""

    name: str
    texts: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class ItemContrast:
    """The items on which two designs differ most: place in the drill-down's items, score of ``a``, score of ``b``."""

    a: str
    b: str
    a_higher: Sequence[tuple[int, float, float]]
    b_higher: Sequence[tuple[int, float, float]]


@dataclass(frozen=True)
class Drilldown:
    """One task down to its items; a text that several contrasts show is held once."""

    key: str
    note: str
    items: Sequence[Item]
    contrasts: Sequence[ItemContrast]


@dataclass(frozen=True)
class Verdict:
    """The recommendation for one category."""

    category: str
    sentence: str
    is_decided: bool
    details: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Verdicts:
    items: Sequence[Verdict]


@dataclass(frozen=True)
class Paragraph:
    text: str


@dataclass(frozen=True)
class Bullets:
    items: Sequence[str]


@dataclass(frozen=True)
class Definitions:
    """Terms and what is said of each."""

    items: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Code:
    text: str
    language: str = ""


@dataclass(frozen=True)
class Folded:
    """Blocks that a reader opens: long, and not needed for the verdict."""

    summary: str
    blocks: Sequence[Block]


Block = Table | Figure | Drilldown | Verdicts | Paragraph | Bullets | Definitions | Code | Folded


@dataclass(frozen=True)
class Section:
    key: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Document:
    """A whole report: its title, what was studied, and its sections in reading order."""

    title: str
    facts: Sequence[tuple[str, str]]
    sections: Sequence[Section]
    warnings: Sequence[str] = ()
