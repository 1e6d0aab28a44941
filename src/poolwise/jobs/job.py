"""One job of a plan, as a small value that can be sent to any process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

JobKind = Literal["adapt", "tune", "train", "eval", "anchor", "entrant", "pass"]


@dataclass(frozen=True)
class Job:
    """One unit of work. Equal keys mean equal results, so a job whose key is done never runs again.

    Args:
        run: the folder that it writes, below ``runs/``; of other kinds, below the folder that ``outputs`` names.
        design: canonical design, or None for a baseline or an entrant.
        needs: ids of the jobs that must succeed first.
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
        """The name in messages and reports; the kind ``anchor`` of keys and files reads ``baseline``."""
        seed = f", seed {self.seed}" if self.kind in ("train", "eval") and self.design else ""
        return f"{'baseline' if self.kind == 'anchor' else self.kind} {self.name}{seed}"
