"""Relevance judgements (qrels) in the formats of TREC and BEIR."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from poolwise.errors import DataError
from poolwise.storage.json_lines import Unreadable, iter_lines

LARGEST_GRADE = 2**31
"""Larger than any judgement; sums of such grades do not overflow."""
WANTED = "wanted `query document grade` or TREC's `query 0 document grade`"


@dataclass(frozen=True)
class Judgement:
    """How relevant a document is to a query; a grade of 0 or below means not relevant."""

    line: int
    query: str
    document: str
    grade: int


def iter_judgements(path: Path, problems: list[str]) -> Iterator[Judgement]:
    """Yield the judgements of a file in UTF-8 as ``judgements_of`` does; add to ``problems`` why it cannot be read."""
    try:
        yield from judgements_of(iter_lines(path), path, problems)
    except DataError as error:
        problems.append(str(error))


def judgements_of(
    lines: Iterable[tuple[int, str | Unreadable]], path: Path, problems: list[str]
) -> Iterator[Judgement]:
    """Yield the judgements of a file, each pair of query and document once; add bad lines to ``problems``.

    Lines have three fields (BEIR, with or without a header) or four (TREC), separated by tabs or, in a line without
    tabs, by white space. All lines have as many fields as the first.

    Args:
        lines: the lines that are not blank, with their numbers.
        path: names the file in ``problems``.
    """
    width = 0
    seen: dict[tuple[str, str], int] = {}
    for place, (line, text) in enumerate(lines):
        if isinstance(text, Unreadable):
            problems.append(f"{path}:{line}: {text.reason}")
            continue
        fields = split_fields(text)
        if place == 0 and is_header(fields):
            continue
        # A truncated line may look like one of the other format.
        if len(fields) not in (3, 4) or len(fields) != (width or len(fields)):
            problems.append(f"{path}:{line}: {len(fields)} fields; {WANTED}{', as above' if width else ''}")
            continue
        width = len(fields)
        grade = _whole(fields[-1])
        if grade is None:
            problems.append(f"{path}:{line}: grade {fields[-1]!r} is not a whole number up to {LARGEST_GRADE:,}")
            continue
        query, document = fields[0], fields[-2]
        if (query, document) not in seen:
            seen[query, document] = grade
            yield Judgement(line, query, document, grade)
        elif (first := seen[query, document]) != grade:
            problems.append(f"{path}:{line}: {document!r} is judged twice for {query!r}, {first} and {grade}")


def split_fields(line: str) -> list[str]:
    """Return the fields of one line."""
    return [field.strip() for field in line.split("\t")] if "\t" in line else line.split()


def is_header(fields: Sequence[str]) -> bool:
    """Return whether the fields are column names: three or four, with no digit in the first and last."""
    is_named = not any(character.isdigit() for character in fields[0] + fields[-1]) if fields else False
    return len(fields) in (3, 4) and is_named


def _whole(text: str) -> int | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return int(number) if number.is_integer() and abs(number) <= LARGEST_GRADE else None
