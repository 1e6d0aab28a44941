"""Saves the texts of a task's items, shortened for readers of a report."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from poolwise.records import ItemTexts, save_record, texts_path
from poolwise.tasks.task import Task

MAX_CHARACTERS = 300
_UNSEEN = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")


def save_texts(tasks: Sequence[Task], folder: Path) -> None:
    """Write the texts of each task below ``folder``; writing them again gives the same bytes."""
    for task in tasks:
        parts = {name: [shortened(text) for text in texts] for name, texts in task.item_texts().items()}
        record = ItemTexts(task=task.name, fingerprint=task.fingerprint, ids=list(task.ids), parts=parts)
        save_record(record, texts_path(folder, task.name))


def shortened(text: str) -> str:
    """Return a text on one line without control characters, at most 300 characters; an ellipsis marks a cut."""
    # Only four times the length that is kept, so that a text of megabytes is not processed to its end.
    line = _UNSEEN.sub(" ", text[: 4 * MAX_CHARACTERS]).strip()
    is_cut = len(line) > MAX_CHARACTERS or len(text) > 4 * MAX_CHARACTERS
    # JSON allows half a surrogate pair in a text, but it cannot be written to a file.
    return (line[: MAX_CHARACTERS - 1].rstrip() + "…" if is_cut else line).encode("utf-8", "replace").decode()
