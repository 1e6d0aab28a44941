"""Fingerprints: short hashes that identify equal values, texts and files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

LENGTH = 16
"""Hexadecimal digits of a fingerprint: 64 bits."""


def fingerprint(value: object) -> str:
    """Return a 16-digit hash of any JSON value; equal values have equal hashes whatever their key order."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:LENGTH]


def hash_texts(texts: Iterable[str]) -> str:
    """Return the sha256 (64 digits) of texts in their order.

    Law: ("ab", "c") and ("a", "bc") have different hashes, and half a surrogate pair, which JSON allows, has one.
    """
    digest = hashlib.sha256()
    for text in texts:
        raw = text.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return digest.hexdigest()


def file_hash(path: Path) -> str:
    """Return the sha256 (64 digits) of a file; a process reads a file that did not change once."""
    stat = path.stat()
    return _file_hash(str(path), stat.st_size, stat.st_mtime_ns)


# Paths as texts, and no more than a large study has files: 65,536 Path objects made a process grow with
# every study that it ran.
@lru_cache(maxsize=2**12)
def _file_hash(path: str, size: int, modified_ns: int) -> str:
    """Return a file's hash; size and time are part of the cache key, so a changed file is read again."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


SUMS = "checksums.json"
"""The file in a finished folder with the checksums of its other files."""
ABOUT = {"README.md", "card.yaml", SUMS}
"""Files of a model that say something of it and change nothing that it computes: its card gains scores later."""


def fingerprint_folder(folder: Path) -> str:
    """Return a 16-digit hash of the names, sizes and contents of a model folder's files, without those ``ABOUT`` it."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in ABOUT:
            digest.update(f"{path.relative_to(folder)}:{path.stat().st_size}:".encode())
            digest.update(bytes.fromhex(file_hash(path)))
    return digest.hexdigest()[:LENGTH]
