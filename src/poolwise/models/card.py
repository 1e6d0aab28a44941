"""The model card that sentence-transformers writes, with the base where that was a GGUF file."""

from __future__ import annotations

from pathlib import Path

_BEFORE = "- **Maximum Sequence Length:**"


def add_base(card: Path, origin: str) -> None:
    """Write a line on the base into a model card; nothing where there is no card.

    sentence-transformers names only bases of the hub, with a link.
    """
    if not card.is_file():
        return
    text, line = card.read_text(encoding="utf-8"), f"- **Base:** {origin}\n"
    head, mark, rest = text.partition(_BEFORE)
    card.write_text(f"{head}{line}{mark}{rest}" if mark else f"{text.rstrip()}\n\n{line}", encoding="utf-8")
