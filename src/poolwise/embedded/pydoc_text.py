"""Words, shingles and near duplicates, used to keep training texts and evaluation texts apart."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable

SHINGLE = 4
NEAR_JACCARD = 0.5
NEAR_CONTAINED = 0.8
_SMALLEST_CONTAINED = 4

_WORD = re.compile(r"[a-z0-9]+")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def words(text: str) -> list[str]:
    """Return the lower-case words of a text, without punctuation."""
    return _WORD.findall(text.lower())


def normalise(text: str) -> str:
    """Return the text in lower case without punctuation; texts that are equal in this form count as equal."""
    return " ".join(words(text))


def split_name(name: str) -> str:
    """Return a qualified name as plain words: ``HTTPServer.get_request`` gives ``HTTP server get request``."""
    parts = [part for piece in re.split(r"[._]+", name) for part in _CAMEL.split(piece)]
    return " ".join(part if part.isupper() and len(part) > 1 else part.lower() for part in parts if part)


def order(*parts: str) -> str:
    """Return a sort key for a pseudo-random order that is the same on every machine and Python version."""
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()


def shingles(text: str) -> frozenset[str]:
    """Return all sequences of four words in a text; if it has fewer words, one sequence of its sorted words."""
    found = words(text)
    if len(found) < SHINGLE:
        return frozenset([" ".join(sorted(found))]) if found else frozenset()
    return frozenset(" ".join(found[i : i + SHINGLE]) for i in range(len(found) - SHINGLE + 1))


class NearDuplicates:
    """An index of texts that tells whether a text is nearly the same as one of them.

    Near means that the texts share half of all their shingles, or four fifths of the shorter text's shingles.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._sizes: list[int] = []
        self._where: defaultdict[str, list[int]] = defaultdict(list)
        for text in texts:
            self.add(text)

    def add(self, text: str) -> None:
        """Add a text to the index."""
        found = shingles(text)
        for shingle in found:
            self._where[shingle].append(len(self._sizes))
        self._sizes.append(len(found))

    def __contains__(self, text: str) -> bool:
        found = shingles(text)
        shared = Counter(index for shingle in found for index in self._where.get(shingle, ()))
        return any(self._is_near(count, len(found), self._sizes[index]) for index, count in shared.items())

    @staticmethod
    def _is_near(shared: int, first: int, second: int) -> bool:
        smaller = min(first, second)
        contained = smaller >= _SMALLEST_CONTAINED and shared >= NEAR_CONTAINED * smaller
        return contained or shared >= NEAR_JACCARD * (first + second - shared)
