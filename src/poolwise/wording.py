"""Names in sentences, and texts of others on a terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

MOST_NAMES = 8
"""A sentence with more names is not read."""
FIRST_NAMES = 5


def listed(names: Sequence[str], most: int | None = MOST_NAMES) -> str:
    """Return names as ``a, b and c``; of more than ``most`` the first, as ``a, b, c, d, e and 45 more``."""
    shown = list(names)
    if most is not None and len(shown) > most:
        shown = [*shown[:FIRST_NAMES], f"{len(shown) - FIRST_NAMES} more"]
    return " and ".join(part for part in (", ".join(shown[:-1]), *shown[-1:]) if part)


def without_home(path: str) -> str:
    """Return a path with the user's home folder written as ``~``: records are shared, and name nobody."""
    home = next((home for home in _homes() if path == home or path.startswith(home + "/")), None)
    return path if home is None else f"~{path[len(home) :]}"


def without_homes(text: str) -> str:
    """Return a text, such as an error or a traceback, with every path as ``without_home`` writes it."""
    for home in _homes():
        # Neither the end of a longer path, as in /data/root, nor the start of a longer name, as /root.old.
        text = re.sub(rf"(?<![\w.-]){re.escape(home)}(?![\w-]|\.\w)", "~", text)
    return text


def _homes() -> list[str]:
    """Return the user's home folder as it is named, and as it is found where that is a link."""
    try:
        home = Path.home()
        homes = [str(home), str(home.resolve())]
    except (RuntimeError, OSError):  # a user without a home folder, a link to itself
        return []
    return [home for home in dict.fromkeys(homes) if home != "/"]


_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Half a surrogate pair is among them, because no terminal can be sent one."""


def visible(text: str) -> str:
    """Return a text with escape codes, other control characters and changes of direction written out, as ``\\x1b``.

    Names of models, tasks and files are other people's: printed as they are, they could move the cursor, set the title
    or hide other lines. Line breaks and tabs stay.
    """
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


def visible_json(text: str) -> str:
    """Return JSON with what ``visible`` writes out as JSON's own escapes, so that it has the same values."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def is_unicode(text: str) -> bool:
    """Return whether a text can be written as UTF-8; JSON allows half a surrogate pair, but tokenizers do not."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
