"""Fingerprints: short hashes that identify equal values, texts and files."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

LENGTH = 16
"""Hexadecimal digits of a fingerprint: 64 bits."""
WHOLE_FILE_LIMIT = 200 * 2**20
SAMPLE = 2**20


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


def fingerprint_folder(folder: Path) -> str:
    """Return a 16-digit hash of the names, sizes and contents of a folder's files.

    For a file above 200 MiB, only the size and the first and last MiB are hashed: a 14 GB base would take minutes.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(folder)}:{path.stat().st_size}:".encode())
            digest.update(_content(path))
    return digest.hexdigest()[:LENGTH]


def _content(path: Path) -> bytes:
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= WHOLE_FILE_LIMIT:
            return hashlib.file_digest(file, "sha256").digest()
        head = file.read(SAMPLE)
        file.seek(-SAMPLE, os.SEEK_END)
        return hashlib.sha256(head + file.read()).digest()
