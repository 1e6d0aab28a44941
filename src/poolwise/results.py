"""Results: the tests and verdicts of a comparison, and everything in a study's ``results.json``.

A *study* is a folder with ``study.json``, ``runs/<run>/``, ``texts/`` and ``results.json`` (StudyResults).
"""

# ruff: noqa: RUF012 (pydantic gives every record its own copy of a default)
from __future__ import annotations

from typing import Literal

from pydantic import Field

from poolwise.records import SCHEMA_VERSION, Adaptation, Category, Cost, Record

RESULTS_VERSION = 2
"""The version of the numbers that the code computes. It is part of every job's key: raise it with each change that
moves a score or a loss by more than rounding. Older studies then run again instead of mixing two kinds of numbers.

1. The first version. Before, keys held the package's version, 0.1.0, through several such changes.
2. Special tokens that are spelled in a text are read as their characters.
"""

Estimand = Literal["checkpoints", "checkpoints_on_tasks", "designs_on_tasks", "tasks_like_these"]
Verdict = Literal["better", "worse", "equal", "not decided"]


class Contrast(Record):
    """One comparison of two designs: ``difference = score(a) - score(b)``, over tasks or within one task.

    ``p`` is two-sided and in (0, 1]; it is None where no test is possible, and ``note`` says why.
    """

    category: str
    task: str | None = Field(default=None, description="None: over all tasks of the category")
    a: str
    b: str
    reason: list[str] = Field(default=[], description="the declared comparisons that include this contrast")
    difference: float
    interval: tuple[float, float] | None = None
    interval_level: float = 0.95
    test: str
    estimand: Estimand
    p: float | None = Field(default=None, gt=0, le=1)
    p_holm: float | None = Field(default=None, gt=0, le=1)
    p_bh: float | None = Field(default=None, gt=0, le=1)
    smallest_p: float | None = None
    num_items: int | None = None
    num_tasks: int | None = None
    num_zeros: int = 0
    seed_spread: float | None = Field(default=None, description="standard deviation of the difference over seeds")
    num_seeds: int | None = Field(default=None, description="the number of seeds of a or b, whichever has fewer")
    by_seed: list[float] = Field(default=[], description="the difference at each seed that both a and b have")
    p_by: float | None = Field(default=None, gt=0, le=1, description="Benjamini-Yekutieli")
    interval_method: str = ""
    simultaneous: tuple[float, float] | None = Field(
        default=None,
        description="interval that covers all contrasts of the primary family jointly; the verdict uses it",
    )
    typical: float | None = Field(
        default=None, description="of tests over tasks: the typical task's difference (Hodges-Lehmann), not the mean"
    )
    typical_simultaneous: tuple[float, float] | None = Field(
        default=None, description="its interval, jointly for the family; better and worse over tasks rest on it"
    )
    standardised: float | None = Field(
        default=None, description="the mean over tasks of the difference in standard deviations between the models"
    )
    left_out: list[str] = Field(default=[], description="tasks of the category that one of the two lacks")
    equivalence: float | None = Field(default=None, description="differences up to this size do not matter in practice")
    verdict: Verdict | None = None
    note: str = ""


class CategoryMean(Record):
    """A design's (or baseline's) mean score over one category's tasks: mean and spread over seeds."""

    category: str
    name: str
    mean: float
    by_seed: list[float]
    seed_std: float | None = None
    num_tasks: int


class VarianceShare(Record):
    """The sources of the uncertainty of one difference: standard deviations of the category mean, by source.

    ``task`` is what other tasks of this category would add; it is not part of the uncertainty over these tasks.
    ``shares`` are shares of the variance and sum to 1.
    """

    category: str
    a: str
    b: str
    item_std: float
    seed_std: float | None = None
    task_std: float | None = None
    shares: dict[str, float] = {}


class Power(Record):
    """The power of one contrast: the smallest possible p, the smallest detectable effect, and how much more is needed.

    ``detectable`` is the effect found in 80 of 100 repeats at the level of the family. ``seeds_needed``,
    ``items_factor`` (times the present items) and ``tasks_needed`` say how many are needed to detect ``equivalence``
    when the rest stays the same; None where more of that alone is not enough.
    """

    category: str
    a: str
    b: str
    smallest_p: float
    equivalence: float
    detectable: float | None = None
    seeds_needed: int | None = None
    items_factor: float | None = None
    tasks_needed: int | None = None
    sentence: str


class RankPicture(Record):
    """Friedman's test and the data of a critical-difference diagram; no verdict uses it."""

    category: str
    names: list[str] = Field(description="best mean rank first")
    mean_ranks: list[float]
    num_tasks: int
    p: float = Field(gt=0, le=1)
    test: str
    critical_difference: float
    groups: list[list[str]] = Field(default=[], description="names whose mean ranks are within one critical difference")


class Posterior(Record):
    """The Bayesian signed-rank test of one contrast: probabilities shown beside the tests; no verdict uses them."""

    category: str
    a: str
    b: str
    equivalence: float
    a_better: float
    equal: float
    b_better: float


class Hierarchy(Record):
    """Partial pooling of one contrast over its tasks (random effects), shown beside the test; no verdict uses it.

    ``interval`` is of the pooled mean, ``new_task`` of the difference on one more task like these, both at 95%.
    ``shrunken`` are the task differences drawn towards the mean, those with little information most.
    """

    category: str
    a: str
    b: str
    mean: float
    interval: tuple[float, float]
    new_task: tuple[float, float]
    between_std: float = Field(description="standard deviation of the true differences between tasks")
    tasks: list[str]
    differences: list[float]
    shrunken: list[float]


class Recommendation(Record):
    """What to use for one category of tasks, in one sentence, and the evidence for it.

    ``warning`` is said first: it names the baselines that the recommended design is not above. ``category`` is
    ``overall`` for the mean over categories.
    """

    category: str
    best: str
    recommended: str
    sentence: str
    decided: bool
    pareto: list[str] = []
    warning: str = ""
    scores: dict[str, float] = Field(default={}, description="means of the recommended, the best and the baselines")
    above: list[str] = Field(default=[], description="baselines that the recommended design was shown to be above")


class Extremes(Record):
    """The items of one task on which two designs differ most: first where ``a`` scores higher, then where ``b`` does.

    ``items`` are indices into ``TaskExtremes.ids``, the largest difference of each side first.
    """

    a: str
    b: str
    items: list[int]
    a_scores: list[float]
    b_scores: list[float]


class TaskExtremes(Record):
    """The items of one task that any contrast lists, each with its texts once, and those contrasts."""

    task: str
    measure: str = Field(description="what an item's score is, in words; higher is better")
    ids: list[str]
    parts: dict[str, list[str]] = Field(
        default={}, description="texts by part, each as long as ids; empty if texts were not stored"
    )
    contrasts: list[Extremes]


class BenchmarkRow(Record):
    """One model's scores on a whole benchmark. ``rank`` is its Borda rank; 1 is best, tied models share a rank."""

    name: str
    rank: int
    rank_interval: tuple[int, int] | None = Field(default=None, description="95% bootstrap interval over tasks")
    points: float = Field(description="Borda points: the models that it beats, summed over tasks; ties count half")
    mean: float = Field(description="mean over tasks")
    mean_of_types: float = Field(description="mean over task types of the mean over the type's tasks")
    by_type: dict[str, float] = Field(description="mean over the tasks of each type")


class BenchmarkTable(Record):
    """The models ranked on a benchmark of MTEB, by its definition.

    ``groups`` hold models, best first, of which no two are separated: their points do not differ at 0.05, corrected for
    all pairs. A model that lacks tasks is in ``incomplete`` with these tasks, and has no rank.
    """

    benchmark: str
    num_tasks: int
    types: dict[str, int] = Field(description="task types and how many tasks each has")
    rows: list[BenchmarkRow]
    groups: list[list[str]] = []
    incomplete: dict[str, list[str]] = {}
    method: str
    notes: list[str] = []


class Comparison(Record):
    """Every number of a comparison of runs; reports only print them.

    Example:

        >>> import poolwise
        >>> sorted(poolwise.Comparison.model_fields)[:4]
        ['against_baselines', 'benchmark', 'by_category', 'contrasts']
    """

    schema_version: int = SCHEMA_VERSION
    reference: str | None
    designs: list[str]
    means: list[CategoryMean]
    contrasts: list[Contrast] = Field(description="over tasks: the primary family")
    task_contrasts: list[Contrast] = Field(default=[], description="within tasks: exploratory")
    recommendations: list[Recommendation] = []
    tasks_like_these: list[Contrast] = Field(
        default=[], description="signed-rank tests over tasks, if the primary family uses another test"
    )
    overall: list[Contrast] = Field(
        default=[], description="the pairs again, on the mean over categories, a family of its own"
    )
    against_baselines: list[Contrast] = Field(
        default=[], description="every design or model against every baseline, a family of its own"
    )
    seed_contrasts: list[Contrast] = Field(
        default=[], description="the primary contrasts again, with seeds treated in other ways"
    )
    variance: list[VarianceShare] = []
    power: list[Power] = []
    rank_pictures: list[RankPicture] = []
    benchmark: BenchmarkTable | None = Field(default=None, description="if a benchmark of MTEB was asked for")
    posteriors: list[Posterior] = []
    hierarchies: list[Hierarchy] = Field(
        default=[], description="partial pooling of the primary contrasts over at least three tasks with items"
    )
    extremes: list[TaskExtremes] = Field(default=[], description="the items on which designs differ most, by task")
    share: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="the part of 0.05 that the tests may use; corrected p-values are divided by it",
    )
    rule: str = Field(default="", description="the rule for verdicts, in words")
    family: str = Field(default="", description="the family of tests that is corrected together, in words")
    by_category: bool = Field(default=False, description="whether each category is corrected by itself")
    methods: list[str] = Field(default=[], description="one paragraph per test that was used")
    notes: list[str] = []


class DesignInfo(Record):
    """One design of a study, described."""

    design: str
    alias: str | None = None
    summary: str
    decision: str | None = Field(
        default=None, description="for the paper's designs: where we differ from its code, and why"
    )
    trainable_parameters: int | None = None
    learning_rate: dict[str, float] = Field(default={}, description="learning rate used in training, by seed")
    layer_weights: dict[str, list[float]] = Field(default={}, description="by seed")


class TaskInfo(Record):
    """One task of a study."""

    task: str
    category: Category
    metric: str
    num_items: int
    num_total: int
    fingerprint: str


class TaskScore(Record):
    """One run's score on one task."""

    run: str
    name: str = Field(description="the design, or the baseline's name")
    seed: int
    task: str
    score: float


class TrainingCurve(Record):
    design: str
    seed: int
    steps: list[int]
    loss: list[float]
    learning_rate: list[float]


class DesignLooks(Record):
    """The dev scores of one training with early stopping, and the step whose weights were kept."""

    design: str
    seed: int
    steps: list[int]
    scores: list[float]
    chosen_step: int


class DimensionMean(Record):
    """A design's mean score over one category's tasks and its seeds, with the first ``dimension`` numbers."""

    category: Category
    name: str
    dimension: int
    mean: float


class AdaptationInfo(Record):
    """The adapted base that bidirectional designs start from, and its training; ``run`` is its folder."""

    run: str
    made: Adaptation
    note: str = Field(description="what a reader of the differences must know")
    trainable_parameters: int | None
    curve: TrainingCurve


class Sequential(Record):
    """How far a study with ``until_decided`` went, and the error rate that its last look may use."""

    num_seeds: int = Field(description="seeds at the last look")
    most_seeds: int = Field(description="seeds that the recipe allows")
    alpha: float = Field(description="the part of 0.05 that the verdicts of the last look may use")
    num_decided: int = Field(description="contrasts with a verdict")
    num_tested: int = Field(description="contrasts with a test")

    @property
    def is_decided(self) -> bool:
        """Whether every contrast that can be tested has a verdict."""
        return self.num_decided == self.num_tested


class EntrantInfo(Record):
    """A model that a study evaluated beside its designs and did not train."""

    name: str = Field(description="in tables: the last part of the model's name")
    model: str = Field(description="folder, or hub id with commit")
    fingerprint: str = Field(description="of its files, or its commit")
    reading: str = Field(description="its length, precision and prompts")


class Results(Record):
    """The part of ``results.json`` that is bit for bit the same when repeated on the same machine."""

    name: str
    kind: Literal["study", "screen", "trial"] = Field(
        default="study",
        description="screen: only heads are trained, on a frozen base; trial: a screen that trains designs at one seed",
    )
    base: str
    recipe: dict[str, object]
    recipe_hash: str = Field(
        description="hash of the recipe and of the base, data and tasks it names; equal hashes: the same study"
    )
    designs: list[DesignInfo]
    anchors: list[str]
    entrants: list[EntrantInfo] = Field(default=[], description="the anchors that are models of others")
    tasks: list[TaskInfo]
    scores: list[TaskScore]
    comparison: Comparison
    training: list[TrainingCurve] = []
    adaptation: AdaptationInfo | None = Field(default=None, description="None: all designs start from the plain base")
    hashes: dict[str, str] = Field(default={}, description="hashes of batch schedules and initial weights, by seed")
    data_fingerprints: dict[str, str] = {}
    failures: dict[str, str] = Field(default={}, description="failed jobs: job -> error")
    not_run: list[str] = Field(default=[], description="jobs that an unfinished study has not run yet")
    sequential: Sequential | None = Field(default=None, description="None: the study has one look, at all its seeds")
    looks: list[DesignLooks] = Field(default=[], description="dev scores during training, with early stopping")
    dimensions: list[DimensionMean] = Field(default=[], description="scores of shorter embeddings, where trained")
    tuning: dict[str, dict[str, float]] = Field(default={}, description="design -> learning rate -> dev score")


class Measured(Record):
    """The part of ``results.json`` that changes when a study is repeated: cost, machine, versions."""

    costs: dict[str, Cost] = Field(default={}, description="by run")
    machine: dict[str, str] = {}
    versions: dict[str, str] = {}
    command: str = ""
    started: str = ""
    wall_seconds: float | None = None


class StudyResults(Record):
    """The whole of ``results.json``.

    ``results`` is bit for bit the same when repeated on one machine; ``measured`` holds costs and the machine.

    Example:

        >>> import poolwise
        >>> list(poolwise.StudyResults.model_fields)
        ['schema_version', 'results', 'measured']
    """

    schema_version: int = SCHEMA_VERSION
    results: Results
    measured: Measured
