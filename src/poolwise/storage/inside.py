"""Names of files below a folder, as a file that others wrote gives them: none may lead out of the folder."""

from __future__ import annotations

from pathlib import PurePosixPath


def require_inside(name: str) -> str:
    """Return the path of a file below a folder, with ``/`` between its parts.

    Raises: ValueError where it is empty or absolute, or goes up.
    """
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise ValueError(f"{name!r:.80} is no file below the folder")
    return name
