"""One unit of work, as a small value that any process can be sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

JobKind = Literal["adapt", "tune", "train", "eval", "anchor", "pass"]


@dataclass(frozen=True)
class Job:
    """One unit of work. Equal keys mean equal results, so a job whose key is done is never run again.

    Args:
        run: the folder below ``runs/`` that it writes; of an adaptation, below ``adapted/``.
        design: canonical design, or None for an anchor.
        needs: ids of the jobs that must have succeeded.
    """

    kind: JobKind
    name: str
    seed: int
    key: str
    run: str
    design: str | None = None
    needs: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return f"{self.kind}-{self.key}"

    @property
    def label(self) -> str:
        seed = f", seed {self.seed}" if self.kind in ("train", "eval") and self.design else ""
        return f"{self.kind} {self.name}{seed}"
