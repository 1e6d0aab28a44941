"""Which tasks are not independent by their names: versions of one task, and tasks made of the same texts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

_VERSION = re.compile(r"[._-]v(\d{1,9})$")
_SUBSET = "hardnegatives"
_FORM = re.compile(r"[-_]?(p2p|s2s)$")
_FORUMS = "retrieval/cqadupstack"


@dataclass(frozen=True)
class TaskFamily:
    """A task without its version, the version, and the name of the texts that it is made of.

    ArxivClusteringP2P.v2 is version 2 of ArxivClusteringP2P, and is made of the same papers as ArxivClusteringS2S:
    of titles with abstracts (P2P, paragraph to paragraph) where the other has titles (S2S).
    """

    task: str
    version: tuple[int, int]
    source: str


@lru_cache(maxsize=4096)
def family_of(task: str) -> TaskFamily:
    """Return the family of ``category/name``, by MTEB's habits of naming; a task is version 1 if it names none."""
    name, number = task.lower(), 1
    if found := _VERSION.search(name):
        name, number = name[: found.start()], int(found[1])
    is_subset = name.endswith(_SUBSET)
    name = name.removesuffix(_SUBSET).removesuffix("retrieval")
    # MTEB renamed ArxivClustering to ArXivHierarchicalClustering when it made it again.
    name = name.replace("hierarchicalclustering", "clustering")
    source = _FORUMS if name.startswith(_FORUMS) else _FORM.sub("", name)
    return TaskFamily(name, (number, int(is_subset)), source)
