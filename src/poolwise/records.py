"""What goes to disk: run manifests, per-item scores, comparisons, and the results of a study.

A *run* is one model evaluated on some tasks. On disk it is a folder::

    run.json                           RunManifest
    training.jsonl                     one TrainingStep a line (trained runs only)
    items/<category>/<name>.json.gz    ItemScores
    model/                             the model (trained runs only)

A *study* is a folder with ``study.json``, ``runs/<run>/`` and ``results.json`` (StudyResults).
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from poolwise.errors import EvalError

SCHEMA_VERSION = 1
R = TypeVar("R", bound=BaseModel)

Category = Literal["sts", "retrieval", "reranking", "classification", "clustering", "pair_classification"]
CATEGORIES: tuple[Category, ...] = (
    "sts",
    "retrieval",
    "reranking",
    "classification",
    "clustering",
    "pair_classification",
)
METRICS: dict[Category, str] = {
    "sts": "cosine_spearman",
    "retrieval": "ndcg_at_10",
    "reranking": "map",
    "classification": "accuracy",
    "clustering": "v_measure",
    "pair_classification": "cosine_ap",
}


class Record(BaseModel):
    """A record that refuses unknown fields and NaN is written as an error, never as a number."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, ser_json_inf_nan="constants")


class ItemScores(Record):
    """One run's scores on one task, item by item.

    ``values`` are, by category: nDCG@10 per query (retrieval), average precision per query (reranking),
    cosine similarity per pair (sts, pair_classification), correctness averaged over the experiments per
    example (classification). Clustering has no ``values``; it has ``assignments``, one list of cluster
    numbers per k-means seed, and ``scores_by_seed``. ``gold`` is the graded score per pair (sts), the 0/1
    label per pair (pair_classification) or the label per row (clustering).

    Law: every per-item list is as long as ``ids``; ids are unique.
    """

    schema_version: int = SCHEMA_VERSION
    task: str
    category: Category
    metric: str
    score: float
    num_total: int = Field(description="items before the cap")
    fingerprint: str = Field(description="hash of the task's texts, labels and settings")
    ids: list[str]
    values: list[float] = []
    gold: list[float] | list[str] = []
    group: list[str] = Field(default=[], description="items with one group name are dependent")
    assignments: list[list[int]] = []
    scores_by_seed: list[float] = []
    settings: dict[str, object] = {}

    @property
    def num_items(self) -> int:
        return len(self.ids)

    @model_validator(mode="after")
    def _aligned(self) -> ItemScores:
        columns: dict[str, Sequence[object]] = {"values": self.values, "gold": self.gold, "group": self.group}
        columns |= {f"assignments[{i}]": row for i, row in enumerate(self.assignments)}
        bad = [f"{name} {len(column)}" for name, column in columns.items() if column and len(column) != len(self.ids)]
        if bad:
            raise ValueError(f"{self.task}: {len(self.ids)} ids but {', '.join(bad)}")
        if len(set(self.ids)) != len(self.ids):
            raise ValueError(f"{self.task}: item ids repeat")
        return self


class Cost(Record):
    """What one run took. Times in seconds, memory in GiB; None where it was not measured."""

    train_seconds: float | None = None
    train_tokens_per_second: float | None = None
    train_peak_memory_gib: float | None = None
    eval_seconds: float | None = None
    encode_texts_per_second: float | None = None


class RunManifest(Record):
    """Which model a run evaluated and how it came to be."""

    schema_version: int = SCHEMA_VERSION
    name: str
    kind: Literal["trained", "anchor", "external"]
    design: str | None = Field(default=None, description="canonical design; None for anchors and foreign models")
    seed: int = 0
    model: str = Field(description="folder or hub id of the model, or the anchor's name")
    trainable_parameters: int | None = None
    learning_rate: float | None = None
    hashes: dict[str, str] = Field(
        default={}, description="schedule, lora_init, head_init ... equal across designs where they must be"
    )
    layer_weights: list[float] | None = Field(default=None, description="share of each layer 1..L, sums to 1")
    probe: dict[str, bool] = Field(default={}, description="token 0 moved: unpadded, padded_left, padded_right")
    notes: list[str] = []
    versions: dict[str, str] = {}
    cost: Cost = Cost()


class TrainingStep(Record):
    """One optimiser step. ``tokens`` counts real tokens of the batch, ``negatives`` per query after masking."""

    step: int
    loss: float
    learning_rate: float
    head_learning_rate: float | None = None
    grad_norm: float | None = None
    tokens: int
    seconds: float
    negatives: float


class Run(Record):
    """A manifest and its scores by task name."""

    manifest: RunManifest
    scores: dict[str, ItemScores]


Estimand = Literal["checkpoints", "designs_on_tasks", "tasks_like_these"]
Verdict = Literal["better", "worse", "equal", "not decided"]


class Contrast(Record):
    """One comparison of two designs: ``difference = score(a) - score(b)``, over tasks or within one task.

    ``p`` is two-sided and in (0, 1]; None where no test is possible, and then ``note`` says why.
    """

    category: str
    task: str | None = Field(default=None, description="None: over the tasks of the category")
    a: str
    b: str
    reason: list[str] = Field(default=[], description="declared comparisons this contrast belongs to")
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
    seed_spread: float | None = Field(default=None, description="standard deviation over seeds of the difference")
    num_seeds: int | None = Field(default=None, description="the lesser number of seeds of a and b")
    by_seed: list[float] = Field(default=[], description="the difference at each seed that both have")
    p_by: float | None = Field(default=None, gt=0, le=1, description="Benjamini-Yekutieli")
    interval_method: str = ""
    simultaneous: tuple[float, float] | None = Field(
        default=None, description="holds for all contrasts of the primary family together; the verdict rests on it"
    )
    equivalence: float | None = Field(default=None, description="differences up to this size do not matter in practice")
    verdict: Verdict | None = None
    note: str = ""


class CategoryMean(Record):
    """A design's (or anchor's) mean score over one category's tasks: mean over seeds, spread over seeds."""

    category: str
    name: str
    mean: float
    by_seed: list[float]
    seed_std: float | None = None
    num_tasks: int


class VarianceShare(Record):
    """Where the uncertainty of one difference comes from: standard deviations of the category mean, by source.

    ``task`` is what other tasks of the kind would add; it is no part of the uncertainty over these tasks.
    ``shares`` are of the variance and sum to 1.
    """

    category: str
    a: str
    b: str
    item_std: float
    seed_std: float | None = None
    task_std: float | None = None
    shares: dict[str, float] = {}


class Power(Record):
    """What one contrast could have found: the least p, the least effect, and how many more would be needed.

    ``detectable`` is found in 80 of 100 repeats at the level of the family. ``seeds_needed``, ``items_factor`` (times
    the items at hand) and ``tasks_needed`` each say, the rest as it is, when ``equivalence`` would be found; None
    where more of it alone would not do.
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
    """Friedman's test and what a critical-difference diagram shows; a picture, no verdict rests on it."""

    category: str
    names: list[str] = Field(description="best mean rank first")
    mean_ranks: list[float]
    num_tasks: int
    p: float = Field(gt=0, le=1)
    test: str
    critical_difference: float
    groups: list[list[str]] = Field(default=[], description="names whose mean ranks lie within one critical difference")


class Posterior(Record):
    """The Bayesian signed-rank test of one contrast: probabilities, shown beside the tests, never a verdict."""

    category: str
    a: str
    b: str
    equivalence: float
    a_better: float
    equal: float
    b_better: float


class Recommendation(Record):
    """What to use for one category of tasks, in one sentence, and what it rests on."""

    category: str
    best: str
    recommended: str
    sentence: str
    decided: bool
    pareto: list[str] = []


class Comparison(Record):
    """Every number of a comparison of runs; the report adds no arithmetic."""

    schema_version: int = SCHEMA_VERSION
    reference: str | None
    designs: list[str]
    means: list[CategoryMean]
    contrasts: list[Contrast] = Field(description="over tasks: the primary family")
    task_contrasts: list[Contrast] = Field(default=[], description="within tasks: exploratory")
    recommendations: list[Recommendation] = []
    tasks_like_these: list[Contrast] = Field(
        default=[], description="the signed-rank tests over tasks, where the primary family is another test"
    )
    seed_contrasts: list[Contrast] = Field(
        default=[], description="the primary contrasts again, with other treatments of the seeds"
    )
    variance: list[VarianceShare] = []
    power: list[Power] = []
    rank_pictures: list[RankPicture] = []
    posteriors: list[Posterior] = []
    rule: str = Field(default="", description="how a verdict is reached, in words")
    family: str = Field(default="", description="the family of tests the correction runs over, in words")
    methods: list[str] = Field(default=[], description="one plain paragraph a test that was used")
    notes: list[str] = []


class DesignInfo(Record):
    """One design of a study and what it means."""

    design: str
    alias: str | None = None
    summary: str
    decision: str | None = Field(default=None, description="for the paper's designs: which way we went and why")
    trainable_parameters: int | None = None
    learning_rate: dict[str, float] = Field(default={}, description="by seed or tuned value, as trained")
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
    name: str = Field(description="design, or the anchor's name")
    seed: int
    task: str
    score: float


class TrainingCurve(Record):
    design: str
    seed: int
    steps: list[int]
    loss: list[float]
    learning_rate: list[float]


class Results(Record):
    """The part of ``results.json`` that repeats bit for bit on the same machine."""

    name: str
    base: str
    recipe: dict[str, object]
    recipe_hash: str
    designs: list[DesignInfo]
    anchors: list[str]
    tasks: list[TaskInfo]
    scores: list[TaskScore]
    comparison: Comparison
    training: list[TrainingCurve] = []
    hashes: dict[str, str] = Field(default={}, description="batch schedules and inits by seed")
    data_fingerprints: dict[str, str] = {}
    failures: dict[str, str] = Field(default={}, description="job -> error, for jobs that failed")
    tuning: dict[str, dict[str, float]] = Field(default={}, description="design -> learning rate -> dev score")


class Measured(Record):
    """The part of ``results.json`` that differs from run to run: cost, machine, versions."""

    costs: dict[str, Cost] = Field(default={}, description="by run")
    machine: dict[str, str] = {}
    versions: dict[str, str] = {}
    command: str = ""
    started: str = ""
    wall_seconds: float | None = None


class StudyResults(Record):
    """The whole of ``results.json``."""

    schema_version: int = SCHEMA_VERSION
    results: Results
    measured: Measured


def save_record(record: BaseModel, path: Path) -> None:
    """Write a record as JSON (gzip if the name ends in ``.gz``), whole or not at all."""
    text = record.model_dump_json(indent=None if path.suffix == ".gz" else 2)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    # A fixed time stamp: the same record gives the same bytes.
    partial.write_bytes(gzip.compress(text.encode(), mtime=0) if path.suffix == ".gz" else (text + "\n").encode())
    partial.replace(path)


def load_record(kind: type[R], path: Path) -> R:
    """Read a record of ``kind``.

    Raises: EvalError where the file is missing, cut short or not such a record.
    """
    try:
        raw = path.read_bytes()
        return kind.model_validate_json(gzip.decompress(raw) if path.suffix == ".gz" else raw)
    except (OSError, EOFError, ValidationError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise EvalError(
            f"cannot read {path} as {kind.__name__}: {reason}", hint="run the command that made it again"
        ) from error


def items_path(run: Path, task: str) -> Path:
    """Return where a run keeps the scores of ``category/name``."""
    return run / "items" / f"{task}.json.gz"


def load_run(folder: Path) -> Run:
    """Return the run stored in ``folder``, its tasks in order of name."""
    manifest = load_record(RunManifest, folder / "run.json")
    records = [load_record(ItemScores, path) for path in sorted((folder / "items").glob("*/*.json.gz"))]
    return Run(manifest=manifest, scores={record.task: record for record in sorted(records, key=lambda r: r.task)})


def iter_run_folders(folder: Path) -> Iterator[Path]:
    """Yield the run folders that ``folder`` is or holds (a run, a study, or a folder of runs).

    Of a study only the runs of its plan count: what changed inputs left behind stays on disk but is not read.
    """
    if (folder / "run.json").is_file():
        yield folder
        return
    root = folder / "runs" if (folder / "runs").is_dir() else folder
    found = sorted(path.parent for path in root.glob("*/run.json"))
    if (plan := folder / "plan.json").is_file():
        current = set(json.loads(plan.read_text())["runs"])
        found = [path for path in found if path.name in current]
    yield from found


def append_steps(steps: Sequence[TrainingStep], path: Path) -> None:
    """Append training steps to a JSON-lines file."""
    with path.open("a") as file:
        file.writelines(step.model_dump_json() + "\n" for step in steps)


def load_steps(path: Path) -> list[TrainingStep]:
    """Return the training steps of a JSON-lines file; of a step logged twice (resumed runs) the later line."""
    rows = [json.loads(line) for line in path.read_text().splitlines() if line]
    latest = {row["step"]: TrainingStep.model_validate(row) for row in rows}
    return [latest[step] for step in sorted(latest)]
