"""A document as GitHub-flavoured Markdown: text and tables, without figures."""

from __future__ import annotations

import re
from collections.abc import Iterable

from poolwise.report.amounts import score_text
from poolwise.report.blocks import (
    CHIPS,
    Block,
    Bullets,
    Card,
    Cards,
    Cell,
    Code,
    Definitions,
    Document,
    Drilldown,
    Figure,
    Folded,
    Paragraph,
    Table,
)


def markdown_document(document: Document) -> str:
    """Return the whole document as Markdown."""
    parts = [f"# {escape(document.title)}"]
    parts.append("\n".join(f"- **{escape(term)}:** {escape(value)}" for term, value in document.facts))
    parts += [f"> **Warning:** {escape(warning)}" for warning in document.warnings]
    for section in document.sections:
        body = [text for block in section.blocks if (text := markdown_block(block))]
        if body:
            parts += [f"## {escape(section.title)}", *body]
    return "\n\n".join(parts) + "\n"


def markdown_block(block: Block) -> str:
    """Return one block as Markdown; empty for figures and drill-downs, which only the HTML shows."""
    match block:
        case Table():
            return markdown_table(block)
        case Cards():
            return "\n\n".join(map(_card, block.items))
        case Paragraph():
            return escape(block.text)
        case Bullets():
            return "\n".join(f"- {escape(item)}" for item in block.items)
        case Definitions():
            return "\n".join(f"- **{escape(term)}:** {escape(value)}" for term, value in block.items)
        case Code():
            fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", block.text)), default=0))
            return f"{fence}{block.language}\n{block.text}\n{fence}"
        case Folded():
            inner = "\n\n".join(text for part in block.blocks if (text := markdown_block(part)))
            return inner and f"<details><summary>{escape(block.summary)}</summary>\n\n{inner}\n\n</details>"
        case Figure() | Drilldown():
            return ""


def _card(card: Card) -> str:
    scores = ", ".join(f"{escape(name)} {score_text(score)}" for name, score in card.scores)
    facts = [f"- **Scores:** {scores}"] if scores else []
    facts += [f"- **{escape(term)}:** {escape(value)}" for term, value in card.details]
    lines = [
        f"### {escape(card.title)}: {'' if card.warning else 'use '}{escape(card.name)} ({CHIPS[card.kind]})",
        f"**{escape(card.warning)}**" if card.warning else "",
        escape(card.sentence),
        "\n".join(facts),
        *(markdown_block(Code(text, word)) for text, word in ((card.python, "python"), (card.command, "sh")) if text),
    ]
    return "\n\n".join(line for line in lines if line)


def markdown_table(table: Table) -> str:
    """Return a pipe table with its caption above and its note below."""
    head = [escape(column.title) + (f"<br>{escape(column.note)}" if column.note else "") for column in table.columns]
    rule = ["---:" if column.is_number else ":---" for column in table.columns]
    lines = [_row(head), _row(rule), *(_row(_cell(cell) for cell in row) for row in table.rows)]
    note = f"\n\n{escape(table.note)}" if table.note else ""
    return f"**{escape(table.caption)}**\n\n" + "\n".join(lines) + note


def escape(text: str) -> str:
    """Return text escaped so that Markdown shows it unchanged, on one line: no tags, emphasis or column breaks."""
    text = " ".join(text.split())
    text = re.sub(r"([\\`*|\[\]])", r"\\\1", text)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _cell(cell: Cell) -> str:
    text = escape(cell.text)
    if cell.tone == "strong":
        text = f"**{text}**"
    return f"{text} ({escape(cell.note)})" if cell.note else text


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
