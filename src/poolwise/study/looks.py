"""Looks: a study with ``until_decided`` tests its results after each seed, and stops once every contrast is decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from poolwise.config import Recipe
from poolwise.jobs import Job
from poolwise.results import Comparison, Sequential
from poolwise.stats.core.spending import look_shares
from poolwise.stats.designs.verdict import ALPHA


@dataclass(frozen=True)
class Look:
    """One test of a study's results.

    Args:
        seeds: the seeds that it uses.
        share: the part of 0.05 that its verdicts may use.
        is_last: no more seeds follow.
    """

    seeds: tuple[int, ...]
    share: float = 1.0
    is_last: bool = True

    def jobs(self, jobs: Sequence[Job]) -> list[Job]:
        """Return the jobs of a study that this look needs, in the order of the plan."""
        return [job for job in jobs if job.kind not in ("train", "eval") or job.seed in self.seeds]


def looks(recipe: Recipe) -> list[Look]:
    """Return the looks of a study: one at all seeds, or with ``until_decided`` one after each seed from the second."""
    if not recipe.until_decided:
        return [Look(tuple(recipe.seeds))]
    most = len(recipe.seeds)
    return [Look(tuple(recipe.seeds[:n]), share, n == most) for n, share in look_shares(most).items()]


def described(recipe: Recipe, look: Look, comparison: Comparison) -> Sequential | None:
    """Return what the record says about the looks of a study; None if it has only one."""
    if not recipe.until_decided:
        return None
    tested = [contrast for contrast in comparison.contrasts if contrast.p is not None]
    return Sequential(
        num_seeds=len(look.seeds),
        most_seeds=len(recipe.seeds),
        alpha=ALPHA * look.share,
        num_decided=sum(contrast.verdict != "not decided" for contrast in tested),
        num_tested=len(tested),
    )


def progress_note(found: Sequential) -> str:
    """Return what a look found and what follows, for the progress display."""
    decided = f"{found.num_decided} of {found.num_tested} contrasts are decided after {found.num_seeds} seeds"
    level = f"at {found.alpha:.2g}, this look's part of {ALPHA:g}"
    if found.is_decided:
        return f"{decided} ({level}); the study stops"
    follows = "the study continues with the next seed" if found.num_seeds < found.most_seeds else "no seed is left"
    return f"{decided} ({level}); {follows}"
