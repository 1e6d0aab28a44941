"""A document as one self-contained HTML file: style and script inside; no network, fonts or libraries."""

from __future__ import annotations

import contextlib
import csv
import html
import io
import math
import re
from collections.abc import Iterable, Iterator
from importlib.resources import files
from urllib.parse import quote

from poolwise.report.amounts import score_text
from poolwise.report.blocks import (
    CHIPS,
    Block,
    Bullets,
    Card,
    Cards,
    Cell,
    Code,
    Column,
    Csv,
    Definitions,
    Document,
    Drilldown,
    Figure,
    Folded,
    Item,
    ItemContrast,
    Panel,
    Paragraph,
    Section,
    Table,
)

# Makes the browser refuse any request to other files or hosts.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def html_document(document: Document) -> str:
    """Return the whole document as an HTML page."""
    links = "".join(f'<li><a href="#{s.key}">{_text(s.title)}</a></li>' for s in document.sections)
    sections = [_section(section) for section in document.sections]
    # The verdict comes before the table of contents, because most readers open the page for it.
    place = next((number for number, s in enumerate(document.sections, start=1) if s.key == "verdict"), 0)
    sections.insert(place, f'<nav aria-label="Contents"><ol>{links}</ol></nav>')
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>{_text(document.title)}</title><style>{_asset('page.css')}{_labels(document)}</style></head><body>"
        '<a class="skip" href="#main">Skip to the verdict</a>'
        f"<header><h1>{_text(document.title)}</h1>{html_head(document)}</header>"
        f'<main id="main" tabindex="-1">{"".join(sections)}</main>'
        f"<script>{_asset('page.js')}</script></body></html>\n"
    )


def html_head(document: Document) -> str:
    """Return the facts and the warnings of a document as HTML."""
    facts = "".join(f"<div><dt>{_text(t)}</dt><dd>{_breakable(v)}</dd></div>" for t, v in document.facts)
    warnings = "".join(f'<p class="warning" role="note">{_text(warning)}</p>' for warning in document.warnings)
    return f"<dl class=facts>{facts}</dl>{warnings}"


def _labels(document: Document) -> str:
    """CSS rules for narrow pages, which show table rows as lists: each cell is preceded by its column's title."""
    rules = "".join(
        f"#{table.key} td:nth-child({number})::before{{content:{_css_text(column.title)}}}"
        for section in document.sections
        for table in _tables(section.blocks)
        if not table.is_grid
        for number, column in enumerate(table.columns, start=1)
    )
    return f"@media screen and (max-width:36rem){{{rules}}}"


def _tables(blocks: Iterable[Block]) -> Iterator[Table]:
    for block in blocks:
        if isinstance(block, Folded):
            yield from _tables(block.blocks)
        elif isinstance(block, Table):
            yield block


def _css_text(text: str) -> str:
    """Return a CSS string; every character except letters, digits and spaces is escaped by its code."""
    return '"' + "".join(c if c == " " or (c.isascii() and c.isalnum()) else f"\\{ord(c):06x}" for c in text) + '"'


def html_block(block: Block) -> str:
    """Return one block as HTML."""
    match block:
        case Table():
            return _table(block)
        case Figure():
            return _figure(block)
        case Drilldown():
            return _drilldown(block)
        case Cards():
            return f'<div class="cards">{"".join(map(_card, block.items))}</div>'
        case Paragraph():
            return f"<p>{_text(block.text)}</p>"
        case Bullets():
            return f"<ul>{''.join(f'<li>{_breakable(item)}</li>' for item in block.items)}</ul>"
        case Definitions():
            items = "".join(f"<dt>{_breakable(t)}</dt><dd>{_breakable(v)}</dd>" for t, v in block.items)
            return f'<dl class="terms">{items}</dl>'
        case Code():
            return f"<pre><code>{html.escape(block.text)}</code></pre>"
        case Folded():
            inner = "".join(map(html_block, block.blocks))
            return f"<details><summary>{_text(block.summary)}</summary>{inner}</details>"


_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", " ")
"""Beginnings of a cell that spreadsheets may take for a formula; some skip white space before it."""


def _inert(cell: object) -> object:
    """Return a cell of a CSV that spreadsheets show and do not run: one that begins as a formula gets an apostrophe."""
    if not isinstance(cell, str) or not cell.startswith(_FORMULA) or len(cell) == 1:
        return cell
    with contextlib.suppress(ValueError):
        return cell if math.isfinite(float(cell)) else f"'{cell}"
    return f"'{cell}"


def csv_link(content: Csv, name: str) -> str:
    """Return a link that downloads the numbers as ``name.csv``; works offline."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerows([[_inert(cell) for cell in row] for row in (content.header, *content.rows)])
    data = quote(buffer.getvalue(), safe="/+,.:;()=- ").replace(" ", "%20")
    return (
        f'<a class="csv" download="{html.escape(name)}.csv" href="data:text/csv;charset=utf-8,{html.escape(data)}" '
        f'aria-label="Numbers of {html.escape(name)} as CSV">CSV</a>'
    )


def _section(section: Section) -> str:
    """A section; a folded one is open at first, and the script closes it on narrow screens."""
    blocks = "".join(map(html_block, section.blocks))
    title = _text(section.title)
    link = f'<a class="anchor" href="#{section.key}" aria-label="Link to {title}">#</a>'
    head = f'<h2 id="{section.key}-h">{title}{link}</h2>'
    if section.is_folded:
        blocks = f'<details class="part" open><summary>{head}</summary>{blocks}</details>'
    else:
        blocks = head + blocks
    return f'<section id="{section.key}" aria-labelledby="{section.key}-h">{blocks}</section>'


def _card(card: Card) -> str:
    """One decision; a model that is below a baseline is shown behind its warning and without a command to use it."""
    warning = f'<p class="stop">{_breakable(card.warning)}</p>' if card.warning else ""
    highest = max((score for _, score in card.scores), default=None)
    scores = "".join(
        f"<tr{' class=own' if name == card.name else ''}><th scope=row>{_breakable(name)}</th>"
        f"<td{' class=strong' if score == highest else ''}>{score_text(score)}</td></tr>"
        for name, score in card.scores
    )
    table = f"<table><tbody>{scores}</tbody></table>" if scores else ""
    details = "".join(f"<div><dt>{_text(t)}</dt><dd>{_breakable(v)}</dd></div>" for t, v in card.details)
    code = "".join(f"<pre><code>{html.escape(text)}</code></pre>" for text in (card.python, card.command) if text)
    if code and not card.is_main:
        code = f"<details><summary>How to load it</summary>{code}</details>"
    return (
        f'<article class="verdict {card.kind}{" main" if card.is_main else ""}">'
        f'<h3>{_text(card.title)} <span class="chip">{CHIPS[card.kind]}</span></h3>{warning}'
        f'<p class="name"><span>{card.label}</span> {_breakable(card.name)}</p>{table}'
        f"{f'<p>{_breakable(card.sentence)}</p>' if card.sentence else ''}<dl>{details}</dl>{code}</article>"
    )


def _figure(figure: Figure) -> str:
    legend = "".join(
        f'<li><svg aria-hidden="true" viewBox="0 0 14 14" width="14" height="14">'
        f'<circle class="mark {e.classes}" cx="7" cy="7" r="5"/></svg> {e.number}&nbsp; {_breakable(e.name)}</li>'
        for e in figure.legend
    )
    legend = f'<ul class="legend">{legend}</ul>' if legend else ""
    return (
        f'<figure id="{figure.key}">{legend}<div class="panels{" dense" if figure.is_dense else ""}">'
        f"{''.join(map(_panel, figure.panels))}</div>"
        f"<figcaption>{_text(figure.caption)} {csv_link(figure.csv, figure.key)}</figcaption></figure>"
    )


def _panel(panel: Panel) -> str:
    return f'<div class="panel"><h3>{_breakable(panel.title)}</h3>{panel.svg}</div>'


def _drilldown(block: Drilldown) -> str:
    contrasts = "".join(_item_contrast(contrast, block) for contrast in block.contrasts)
    items = "".join(_item(f"{block.key}-{place}", item) for place, item in enumerate(block.items) if item.texts)
    texts = f"<details><summary>All texts ({len(block.items)})</summary><ol>{items}</ol></details>" if items else ""
    return f'<div class="drill"><p class="note">{_text(block.note)}</p>{contrasts}{texts}</div>'


def _item_contrast(contrast: ItemContrast, block: Drilldown) -> str:
    """One contrast as a table; when it is opened, the script inserts item texts below their scores."""
    rows = ""
    for title, side in (("first", contrast.a_higher), ("second", contrast.b_higher)):
        if side:
            rows += f"<tr><th colspan=3>Higher with the {title}</th></tr>"
            rows += "".join(_item_row(block, *row) for row in side)
    head = "".join(f"<th scope=col>{_breakable(name)}</th>" for name in (contrast.a, contrast.b))
    inner = (
        f"<table><thead><tr><th scope=col>Item</th>{head}</tr></thead><tbody>{rows}</tbody></table>"
        if rows
        else "<p>No item differs.</p>"
    )
    summary = f"{_text(contrast.a)} <span>minus {_text(contrast.b)}</span>"
    return f"<details><summary>{summary}</summary>{inner}</details>"


def _item_row(block: Drilldown, place: int, a: float, b: float) -> str:
    item = block.items[place]
    name = _text(item.name)
    link = f'<a href="#{block.key}-{place}">{name}</a>' if item.texts else name
    return f"<tr><th scope=row>{link}</th><td>{score_text(a)}</td><td>{score_text(b)}</td></tr>"


def _item(key: str, item: Item) -> str:
    texts = "".join(f"<dt>{_text(part)}</dt><dd>{_text(text) or '<em>empty</em>'}</dd>" for part, text in item.texts)
    return f'<li id="{key}"><p>{_text(item.name)}</p><dl>{texts}</dl></li>'


def _table(table: Table) -> str:
    head = "".join(_head_cell(column, table.is_sortable) for column in table.columns)
    rows = "".join(
        f"<tr{' class=break' if i in table.breaks else ''}>"
        + "".join(_body_cell(cell, table.columns[j], j == 0) for j, cell in enumerate(row))
        + "</tr>"
        for i, row in enumerate(table.rows)
    )
    link = f" {csv_link(table.csv, table.key)}" if table.csv else ""
    note = f'<p class="note">{_text(table.note)}{link}</p>' if table.note or link else ""
    kind = "scroll grid" if table.is_grid else "scroll"
    return (
        f'<div class="{kind}" role="region" tabindex="0" aria-labelledby="{table.key}-c">'
        f'<table id="{table.key}"><caption id="{table.key}-c"><span>{_text(table.caption)}</span></caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>{note}"
    )


def _head_cell(column: Column, is_sortable: bool) -> str:
    title = _breakable(column.title)
    inner = f'<button type="button">{title}</button>' if is_sortable else title
    note = f"<small>{_text(column.note)}</small>" if column.note else ""
    return f'<th scope="col"{_classes("num" if column.is_number else "")}>{inner}{note}</th>'


def _body_cell(cell: Cell, column: Column, is_first: bool) -> str:
    tag = 'th scope="row"' if is_first else "td"
    sort = f' data-sort="{cell.sort!r}"' if cell.sort is not None else ""
    note = f"<small>{_text(cell.note)}</small>" if cell.note else ""
    text = _number(cell.text) if column.is_number else _breakable(cell.text)
    classes = _classes("num" if column.is_number else "", cell.tone)
    return f"<{tag}{classes}{sort}>{text}{note}</{tag.split()[0]}>"


def _number(text: str) -> str:
    """Return a number with its stars outside the column, so that digits line up."""
    digits = text.rstrip("*")
    return _text(digits) + (f'<span class="stars">{text[len(digits) :]}</span>' if digits != text else "")


def _classes(*names: str) -> str:
    kept = " ".join(name for name in names if name)
    return f' class="{kept}"' if kept else ""


def _text(text: str) -> str:
    return html.escape(text)


def _breakable(text: str) -> str:
    """Return escaped text that may wrap after ``+``, ``/``, ``,`` and the ``(`` of a name, as phones need it."""
    escaped = html.escape(text)
    escaped = re.sub(r"(?<=\w)\(", "(<wbr>", escaped)
    for joint in ("+", "/", ","):
        escaped = escaped.replace(joint, joint + "<wbr>")
    return escaped


def _asset(name: str) -> str:
    return files("poolwise.report").joinpath(name).read_text(encoding="utf-8")
