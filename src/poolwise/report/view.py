"""Lookups on the records for a report: order, labels, means, contrasts and costs by design."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from poolwise.design import parse_design
from poolwise.errors import ConfigError
from poolwise.records import CATEGORIES, Cost, Run
from poolwise.results import CategoryMean, Comparison, Contrast, StudyResults, TaskInfo, TaskScore

ALPHA = 0.05
OVERALL = "overall"
TITLES = {"sts": "STS", "pair_classification": "Pair classification"}
METRIC_TITLES = {
    "cosine_spearman": "Spearman",
    "ndcg_at_10": "nDCG@10",
    "map": "MAP",
    "v_measure": "V-measure",
    "cosine_ap": "AP",
}
ESTIMANDS = {
    "checkpoints": "these checkpoints",
    "checkpoints_on_tasks": "these checkpoints on these tasks",
    "designs_on_tasks": "these designs on these tasks",
    "tasks_like_these": "tasks like these",
}
REASONS = {
    "": "all pairs",
    "all_pairs": "all pairs",
    "reference": "against the reference",
    "pooling_given_attention": "pooling, given the attention",
    "attention_given_pooling": "attention, given the pooling",
    "adaptation_given_design": "adaptation of the base, given the design",
    "training_given_design": "training, given the design",
    "baseline": "against a baseline",
}


def category_title(category: str) -> str:
    """Return the display name of a category."""
    return TITLES.get(category, category.replace("_", " ").capitalize())


def stars(contrast: Contrast) -> str:
    """Return ``**`` if the corrected p is below 0.05, ``*`` if only the raw p is, else an empty string."""
    if contrast.p_holm is not None and contrast.p_holm < ALPHA:
        return "**"
    return "*" if contrast.p is not None and contrast.p < ALPHA else ""


@dataclass(frozen=True)
class View:
    """Everything that a report shows about the compared designs (or models)."""

    comparison: Comparison
    designs: Sequence[str]
    anchors: Sequence[str] = ()
    tasks: Sequence[TaskInfo] = ()
    scores: Sequence[TaskScore] = ()
    costs: dict[str, list[Cost]] = field(default_factory=dict)
    parameters: dict[str, int] = field(default_factory=dict)
    folders: dict[str, str] = field(
        default_factory=dict, metadata={"description": "of each trained design: the run of its first seed"}
    )

    @property
    def names(self) -> list[str]:
        """Designs, then baselines."""
        return [*self.designs, *self.anchors]

    @property
    def categories(self) -> list[str]:
        """Categories with a mean or a contrast, in the usual order; without the mean over categories."""
        comparison = self.comparison
        found = {m.category for m in comparison.means} | {c.category for c in comparison.contrasts}
        found -= {OVERALL}
        return [c for c in CATEGORIES if c in found] + sorted(found - set(CATEGORIES))

    @property
    def uses(self) -> list[str]:
        """The categories, and the mean over them if it is in the records."""
        has_overall = any(mean.category == OVERALL for mean in self.comparison.means)
        return [*self.categories, *([OVERALL] if has_overall else [])]

    def alias(self, name: str) -> str:
        """Return the alias of a design, such as ``paper:3``; empty if it has none."""
        try:
            return parse_design(name).alias or ""
        except ConfigError:  # a baseline or a foreign model
            return ""

    def mean(self, category: str, name: str) -> CategoryMean | None:
        """Return the mean score of a design over a category's tasks."""
        return next((m for m in self.comparison.means if (m.category, m.name) == (category, name)), None)

    def contrasts(self, category: str) -> list[Contrast]:
        """Return the contrasts of a category (or of the mean over categories), in the order of the records."""
        source = self.comparison.overall if category == OVERALL else self.comparison.contrasts
        return [c for c in source if c.category == category]

    def reference_contrast(self, category: str, name: str) -> Contrast | None:
        """Return the first contrast of a design with the reference; records list the primary test first."""
        wanted = (name, self.comparison.reference)
        return next((c for c in self.contrasts(category) if (c.a, c.b) == wanted), None)

    def num_tasks(self, category: str) -> int:
        """Return the number of tasks in the means of a category."""
        return max((m.num_tasks for m in self.comparison.means if m.category == category), default=0)

    def smallest_p(self, category: str) -> float | None:
        """Return the smallest possible p of any contrast of a category."""
        return min((c.smallest_p for c in self.contrasts(category) if c.smallest_p is not None), default=None)

    def seed_mean(self, task: str, name: str) -> float | None:
        """Return a design's score on a task, averaged over its seeds."""
        values = [s.score for s in self.scores if (s.task, s.name) == (task, name)]
        return statistics.fmean(values) if values else None

    def cost(self, name: str, part: Callable[[Cost], float | None]) -> float | None:
        """Return one part of a design's cost, averaged over the runs that measured it."""
        values = [value for cost in self.costs.get(name, []) if (value := part(cost)) is not None]
        return statistics.fmean(values) if values else None


def study_view(study: StudyResults) -> View:
    """Return the view of a study."""
    results = study.results
    names = {s.run: s.name for s in results.scores}
    costs: dict[str, list[Cost]] = {}
    for run, cost in study.measured.costs.items():
        if run in names:
            costs.setdefault(names[run], []).append(cost)
    return View(
        comparison=results.comparison,
        designs=[info.design for info in results.designs],
        anchors=results.anchors,
        tasks=results.tasks,
        scores=results.scores,
        costs=costs,
        parameters={i.design: i.trainable_parameters for i in results.designs if i.trainable_parameters is not None},
        folders=_first_runs(results.scores, [info.design for info in results.designs]),
    )


def _first_runs(scores: Sequence[TaskScore], designs: Sequence[str]) -> dict[str, str]:
    """The folder, within the study, of each design's run with the lowest seed: no seed is chosen by its score."""
    runs = {(s.name, s.seed): f"runs/{s.run}" for s in scores if s.name in designs}
    return {name: folder for (name, _), folder in sorted(runs.items(), reverse=True)}


def runs_view(comparison: Comparison, runs: Sequence[Run]) -> View:
    """Return the view of a comparison of any runs; runs outside its designs are baselines."""
    names = dict.fromkeys([*map(_name, runs), *(mean.name for mean in comparison.means)])
    costs: dict[str, list[Cost]] = {}
    for run in runs:
        costs.setdefault(_name(run), []).append(run.manifest.cost)
    return View(
        comparison=comparison,
        designs=comparison.designs,
        anchors=[name for name in names if name not in comparison.designs],
        tasks=list(_task_infos(runs)),
        scores=[
            TaskScore(run=run.manifest.name, name=_name(run), seed=run.manifest.seed, task=task, score=items.score)
            for run in runs
            for task, items in run.scores.items()
        ],
        costs=costs,
        parameters={
            _name(run): run.manifest.trainable_parameters
            for run in runs
            if run.manifest.trainable_parameters is not None
        },
        folders={
            _name(run): run.manifest.model
            for run in sorted(runs, key=lambda run: -run.manifest.seed)
            if run.manifest.kind == "trained" and run.manifest.model.endswith("model")  # a screen keeps heads only
        },
    )


def _name(run: Run) -> str:
    return run.manifest.label


def _task_infos(runs: Sequence[Run]) -> Iterable[TaskInfo]:
    first = {task: items for run in reversed(runs) for task, items in run.scores.items()}
    for task in sorted(first):
        items = first[task]
        yield TaskInfo(
            task=task,
            category=items.category,
            metric=items.metric,
            num_items=items.num_items,
            num_total=items.num_total,
            fingerprint=items.fingerprint,
        )
