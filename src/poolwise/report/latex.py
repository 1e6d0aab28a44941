r"""Tables as LaTeX for a paper; needs only ``booktabs``.

The small second line of a cell follows it in smaller type; stars become superscripts.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from poolwise.report.amounts import MINUS
from poolwise.report.blocks import Cell, Table

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    MINUS: "$-$",
    "±": r"$\pm$",
    "≥": r"$\ge$",
    "–": "--",
    "·": r"$\cdot$",
    "…": r"\ldots{}",
    "×": r"$\times$",
    "—": "---",
    "“": "``",
    "”": "''",
    "‘": "`",
    "’": "'",
    "ß": r"\ss{}",
    "æ": r"\ae{}",
    "ø": r"\o{}",
    "ł": r"\l{}",
} | {character: "\\" + character for character in "&%$#_{}"}
_ACCENTS = dict(
    zip("\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0327\u0328", "`'^~=u.\"rHvck", strict=True)
)


def latex_document(tables: Sequence[Table]) -> str:
    """Return all tables, to be included with ``\\input`` in a document that loads booktabs."""
    return "% needs \\usepackage{booktabs}\n" + "\n".join(latex_table(table) for table in tables)


def latex_table(table: Table) -> str:
    """Return one ``table`` environment."""
    lines = [
        r"\begin{table}",
        r"\centering\small",
        rf"\caption{{{escape(table.caption)}.{' ' + escape(table.note) if table.note else ''}}}",
        rf"\label{{{table.key.replace('tab-', 'tab:')}}}",
        rf"\begin{{tabular}}{{@{{}}{''.join('r' if c.is_number else 'l' for c in table.columns)}@{{}}}}",
        r"\toprule",
        _row(escape(column.title) for column in table.columns),
    ]
    if any(column.note for column in table.columns):
        lines.append(_row(_small(column.note) for column in table.columns))
    lines.append(r"\midrule")
    for number, row in enumerate(table.rows):
        lines += [r"\midrule"] if number in table.breaks else []
        lines.append(_row(map(_cell, row)))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def escape(text: str) -> str:
    """Return text escaped so that LaTeX prints it unchanged, in ASCII only.

    Letters that the Latin fonts of TeX lack become their code, such as U+4E2D, because pdflatex would stop at them.
    """
    return "".join(map(_character, " ".join(text.split())))


def _character(character: str) -> str:
    if character in _SPECIAL:
        return _SPECIAL[character]
    if character.isascii():
        return character if character.isprintable() else ""
    base, *marks = list(unicodedata.normalize("NFD", character))
    if base.isascii() and len(marks) == 1 and marks[0] in _ACCENTS:
        return rf"\{_ACCENTS[marks[0]]}{{{base}}}"
    return f"U+{ord(character):04X}"


def _cell(cell: Cell) -> str:
    text = re.sub(r"(?<=\d)(\*+)$", r"$^{\1}$", escape(cell.text))
    if cell.tone == "strong":
        text = rf"\textbf{{{text}}}"
    return f"{text} {_small(cell.note)}" if cell.note else text


def _small(text: str) -> str:
    return rf"{{\scriptsize {escape(text)}}}" if text else ""


def _row(cells: Iterable[str]) -> str:
    row = " & ".join(cells)
    # After the end of a line or a rule, LaTeX would read a bracket or a star as an option.
    return ("{}" if row.startswith(("[", "*")) else "") + row + r" \\"
