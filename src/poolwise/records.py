"""The records of a run on disk: its manifest, its training steps, its scores per item.

A *run* is one model evaluated on some tasks. On disk it is a folder::

    run.json                           RunManifest
    training.jsonl                     one TrainingStep per line (trained runs only)
    items/<category>/<name>.json.gz    ItemScores
    items/checksums.json               of the files with scores
    model/                             the model (trained runs only)
    base/                              the adapted base (adaptations only), with its Adaptation
    evaluation.json                    the settings all its scores share (runs of ``poolwise eval`` only)
    texts/<category>/<name>.json.gz    ItemTexts; the runs of a study share those in the study's folder
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from poolwise.errors import DataError, EvalError, ModelError, one_line
from poolwise.storage.checksums import checksums, damages, load_checksums, write_checksums
from poolwise.storage.fingerprints import SUMS
from poolwise.storage.inflate import read_inflated
from poolwise.storage.inside import require_inside
from poolwise.storage.json_text import load_json
from poolwise.storage.whole_files import write_bytes, write_text

SCHEMA_VERSION = 1
R = TypeVar("R", bound=BaseModel)
InsideName = Annotated[str, AfterValidator(require_inside)]
"""The path of a file below the folder of its record."""

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
    """A record. Unknown fields, NaN and infinite numbers are errors."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, ser_json_inf_nan="constants")


class ItemScores(Record):
    """One run's scores on one task, per item.

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
    num_total: int = Field(description="items of the task before max_items")
    fingerprint: str = Field(description="hash of the task's texts, labels and settings")
    ids: list[str]
    values: list[float] = []
    gold: list[float] | list[str] = []
    group: list[str] = Field(default=[], description="items with the same group name depend on each other")
    assignments: list[list[int]] = []
    scores_by_seed: list[float] = []
    by_dimension: dict[int, float] = Field(
        default={}, description="the task's score at each dimension that the model was trained with"
    )
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


class ItemTexts(Record):
    """The texts of one task's items, as reports show them for any run: ``parts["query"][i]`` belongs to ``ids[i]``.

    Law: every part is as long as ``ids``.
    """

    schema_version: int = SCHEMA_VERSION
    task: str
    fingerprint: str = Field(description="of the task, as in its ItemScores")
    ids: list[str]
    parts: dict[str, list[str]]

    @model_validator(mode="after")
    def _aligned(self) -> ItemTexts:
        if bad := [f"{name} {len(texts)}" for name, texts in self.parts.items() if len(texts) != len(self.ids)]:
            raise ValueError(f"{self.task}: {len(self.ids)} ids but {', '.join(bad)}")
        return self


class Cost(Record):
    """The time and memory of one run. Times in seconds, memory in GiB; None where not measured."""

    train_seconds: float | None = None
    train_tokens_per_second: float | None = None
    train_peak_memory_gib: float | None = None
    eval_seconds: float | None = None
    encode_texts_per_second: float | None = None


class Adaptation(Record):
    """How a base was adapted to bidirectional attention, saved in its folder; the same each time it is repeated.

    ``key`` hashes everything that can change the weights.
    """

    schema_version: int = SCHEMA_VERSION
    key: str
    base: str = Field(description="the plain base, as the recipe names it")
    steps: int
    method: Literal["lora", "full"]
    mask_share: float
    mask_token: str
    num_texts: int = Field(description="number of distinct texts it draws from")
    seed: int


class DevLook(Record):
    """The mean dev score of a model after ``step`` steps."""

    step: int
    score: float


class _Looks(Record):
    looks: list[DevLook]


class RunManifest(Record):
    """Which model a run evaluated and how it was made. Of kind "adapted": only how a base was made."""

    schema_version: int = SCHEMA_VERSION
    name: str
    kind: Literal["trained", "anchor", "external", "adapted"]
    design: str | None = Field(default=None, description="canonical design; None for baselines and foreign models")
    seed: int = 0
    model: str = Field(description="folder or hub id of the model, or the baseline's name")
    trainable_parameters: int | None = None
    learning_rate: float | None = None
    hashes: dict[str, str] = Field(
        default={}, description="schedule, lora_init, head_init ...; equal across designs where the control demands it"
    )
    layer_weights: list[float] | None = Field(default=None, description="share of each layer 1..L, sums to 1")
    probe: dict[str, bool] = Field(
        default={},
        description="whether token 0 moved: unpadded, padded_left, padded_right; partial attentions: layer_N, prompt",
    )
    training: dict[str, str | int | float | bool] = Field(
        default={}, description="what its training depends on besides design and seed: base, data, steps ..."
    )
    looks: list[DevLook] = Field(default=[], description="the dev scores of early stopping, in order of steps")
    chosen_step: int | None = Field(
        default=None, description="the step whose weights were kept; None: the last, without early stopping"
    )
    adaptation: str = Field(default="", description="key of the adaptation of its base; empty if none")
    variant: str = Field(
        default="", description="distinguishes it from other runs of its design when both are compared"
    )
    attention_kernel: str = Field(
        default="", description="eager if the usual kernel ignored the attention; empty for the usual one"
    )
    notes: list[str] = []
    versions: dict[str, str] = {}
    cost: Cost = Cost()

    @property
    def label(self) -> str:
        """The name of the run in a comparison: its design (or its name if it has none) and its variant."""
        return f"{self.design or self.name}{f' ({self.variant})' if self.variant else ''}"


class TrainingStep(Record):
    """One optimiser step. ``tokens`` counts the batch's real tokens, ``negatives`` those per query after masking."""

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


def save_record(record: BaseModel, path: Path) -> None:
    """Write a record as JSON (gzip if the name ends in ``.gz``), whole or not at all."""
    text = record.model_dump_json(indent=None if path.suffix == ".gz" else 2)
    # The time stamp is fixed so that equal records give equal bytes.
    write_bytes(path, gzip.compress(text.encode(), mtime=0) if path.suffix == ".gz" else (text + "\n").encode())


def load_record(kind: type[R], path: Path) -> R:
    """Read a record of ``kind``.

    Raises: EvalError where the file is missing, truncated or not such a record.
    """
    try:
        return kind.model_validate_json(read_inflated(path))
    except DataError as error:
        raise EvalError(error.got, error.wanted) from error
    except (OSError, EOFError, zlib.error, ValidationError, ValueError) as error:
        reason = one_line(error)
        if isinstance(error, ValidationError):
            reason = first_problem(error)
        raise EvalError(
            f"cannot read {path} as {kind.__name__}: {reason}",
            hint="delete it, and repeat the command that wrote it",
        ) from error


def first_problem(error: ValidationError) -> str:
    """Return the first of pydantic's problems, and where it is."""
    first = error.errors(include_url=False)[0]
    return ": ".join(part for part in (".".join(map(str, first["loc"])), first["msg"]) if part)


ADAPTATION_FILE = "adaptation.json"


def load_adaptation(base: str) -> Adaptation | None:
    """Return how the base in a folder was adapted; None if it was not adapted or is not a folder."""
    path = Path(base) / ADAPTATION_FILE
    return load_record(Adaptation, path) if path.is_file() else None


def require_finished(folder: Path) -> None:
    """Raise ModelError where a folder is a run whose training was interrupted and holds no model yet."""
    is_begun = any((folder / name).exists() for name in ("spec.json", "training.jsonl", "checkpoints"))
    if is_begun and not (folder / "model").is_dir() and not (folder / "modules.json").is_file():
        raise ModelError(
            f"{folder} is a run whose training is not finished",
            "wanted a run with a model/ folder",
            "repeat the poolwise command that started it: it resumes from the last checkpoint",
        )


def items_path(run: Path, task: str) -> Path:
    """Return where a run keeps the scores of ``category/name``."""
    return run / "items" / f"{task}.json.gz"


def texts_path(folder: Path, task: str) -> Path:
    """Return where a study, or a run outside one, keeps the texts of ``category/name``."""
    return folder / "texts" / f"{task}.json.gz"


SetAside = Callable[[EvalError], None]
"""What is called with the error of a file that cannot be read, if the others are read all the same."""


def load_texts(folder: Path, set_aside: SetAside | None = None) -> list[ItemTexts]:
    """Return the texts that belong to the runs in ``folder`` (a run, a study, a folder of runs); empty if none.

    Raises: EvalError where a file cannot be read, unless ``set_aside`` is given.
    """
    if not (runs := list(iter_run_folders(folder))):
        return []
    homes = [folder, *runs, *(run.resolve().parents[1] for run in runs if run.resolve().parent.name == "runs")]
    found = {path.resolve(): None for home in homes for path in sorted((home / "texts").glob("*/*.json.gz"))}
    return _load_records(ItemTexts, list(found), set_aside)


def bound_files(run: Path) -> list[Path]:
    """Return the files of an evaluated run that say what it is and to what its scores belong."""
    named = [run / name for name in ("run.json", "evaluation.json", f"items/{SUMS}")]
    return [path for path in (*named, *sorted((run / "texts").glob("*/*.json.gz"))) if path.is_file()]


def _require_bound(run: Path) -> None:
    """Raise EvalError where scores and what they are of do not belong together, as ``bound_files`` were recorded."""
    try:
        recorded = load_checksums(run) or {}
    except (OSError, ValueError) as error:
        raise EvalError(f"cannot read {run / SUMS}: {error}", hint="repeat the command that wrote the run") from error
    names = {path.relative_to(run).as_posix() for path in bound_files(run)}
    for name, problem in damages(run, {name: known for name, known in recorded.items() if name in names}).items():
        raise EvalError(
            f"{run / name} {problem}", "wanted a run as it was written", "evaluate the model again, with another --out"
        )


def load_run(folder: Path, set_aside: SetAside | None = None) -> Run:
    """Return the run stored in ``folder``, its tasks sorted by name.

    Raises: EvalError where its manifest cannot be read or is not as it was written, or, unless ``set_aside`` is given,
        where the scores of a task cannot be read or are not as they were written.
    """
    _require_bound(folder)
    manifest = load_record(RunManifest, folder / "run.json")
    changed = changed_items(folder)
    for path, problem in changed.items():
        error = EvalError(
            f"{path} {problem}",
            "wanted the scores as they were written",
            "repeat the command that wrote the run: it scores what changed again",
        )
        if set_aside is None:
            raise error
        set_aside(error)
    paths = [path for path in sorted((folder / "items").glob("*/*.json.gz")) if path not in changed]
    records = _load_records(ItemScores, paths, set_aside)
    return Run(manifest=manifest, scores={record.task: record for record in sorted(records, key=lambda r: r.task)})


def save_items(record: ItemScores, run: Path) -> None:
    """Write the scores of a task into a run, and their checksum beside those of its other tasks."""
    path = items_path(run, record.task)
    save_record(record, path)
    known = {name: found for name, found in (_item_sums(run) or {}).items() if (run / "items" / name).is_file()}
    write_checksums(run / "items", known | checksums(run / "items", [path]))


def items_problem(run: Path, task: str) -> str:
    """Return what is wrong with a task's file of scores in words, empty if it is as it was written.

    A file without a checksum counts as wrong: the process that wrote it was killed, or it comes from another run.
    """
    recorded = _item_sums(run)
    name = items_path(run, task).relative_to(run / "items").as_posix()
    if recorded is None:
        return f"cannot be checked: {run / 'items' / SUMS} is damaged"
    if name not in recorded:
        return "has no checksum"
    return damages(run / "items", {name: recorded[name]}).get(name, "")


def changed_items(run: Path) -> dict[Path, str]:
    """Return what is wrong with each file of scores that is not as it was written; empty if all are.

    Those of a version that recorded no checksums cannot be told from whole ones.
    """
    recorded = _item_sums(run)
    if recorded is None:
        return {run / "items" / SUMS: "is damaged, so no score can be checked"}
    damaged = {run / "items" / name: problem for name, problem in damages(run / "items", recorded).items()}
    return _other_than_scored(run) | damaged


def _other_than_scored(run: Path) -> dict[Path, str]:
    """Return the scores of a study's run that none of its finished jobs wrote: those of another run, for example."""
    place = run.resolve()
    if place.parent.name != "runs":
        return {}
    study, start = place.parent.parent, f"runs/{place.name}/items/"
    written: dict[str, list[str]] = {}
    for job in sorted((study / "jobs").glob("*.json")):
        try:
            outputs = load_json(job)["outputs"].items()
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            continue  # the study says so, and runs the job again
        for name, known in outputs:
            if name.startswith(start) and name.endswith(".json.gz"):
                written.setdefault(name, []).append(str(known))
    # A job of other settings may have scored the same task again.
    return {
        run / "items" / name.removeprefix(start): "is not as a job of the study wrote it"
        for name, known in written.items()
        if (study / name).is_file() and all(damages(study, {name: one}) for one in known)
    }


def _item_sums(run: Path) -> dict[str, str] | None:
    """Return the recorded checksums of a run's scores; empty if there are none, None if their file is damaged."""
    try:
        return load_checksums(run / "items") or {}
    except (OSError, ValueError):
        return None


def _load_records(kind: type[R], paths: Sequence[Path], set_aside: SetAside | None) -> list[R]:
    records = []
    for path in paths:
        try:
            records.append(load_record(kind, path))
        except EvalError as error:
            if set_aside is None:
                raise
            set_aside(error)
    return records


def iter_run_folders(folder: Path) -> Iterator[Path]:
    """Yield the run folders that ``folder`` is or holds (a run, a study, or a folder of runs).

    Of a study, only the runs in its plan are read; runs of earlier inputs stay on disk.

    Raises: EvalError where the plan of a study is truncated.
    """
    if (folder / "run.json").is_file():
        yield folder
        return
    root = folder / "runs" if (folder / "runs").is_dir() else folder
    found = sorted(path.parent for path in root.glob("*/run.json"))
    planned = planned_runs(folder)
    yield from (path for path in found if planned is None or path.name in planned)


def run_folder_name(slug: str, seed: int, key: str) -> str:
    """Return the name of the folder of a design's run in a study; ``key`` is the hash of its job."""
    return f"{slug}-s{seed}-{key[:8]}"


def seed_of_folder(name: str) -> int | None:
    """Return the seed in a name made by ``run_folder_name``; None in another name."""
    found = re.search(r"-s(\d+)-[0-9a-f]+$", name)
    return int(found[1]) if found else None


def planned_runs(folder: Path) -> list[str] | None:
    """Return the names of the runs in a study's plan, in order; None if the folder is not a study.

    Raises: EvalError where the plan is truncated.
    """
    if not (plan := folder / "plan.json").is_file():
        return None
    try:
        names = load_json(plan)["runs"]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("its runs are no list of names")
        return names
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EvalError(f"cannot read {plan} as the plan of a study: {error}", hint="run the study again") from error


def save_looks(looks: Sequence[DevLook], path: Path) -> None:
    """Write the looks of a training, whole or not at all."""
    save_record(_Looks(looks=list(looks)), path)


def load_looks(path: Path) -> list[DevLook]:
    """Return the looks of a training; empty if there is no file. Raises: EvalError where it is damaged."""
    return load_record(_Looks, path).looks if path.is_file() else []


def save_steps(steps: Sequence[TrainingStep], path: Path) -> None:
    """Write training steps as JSON lines, whole or not at all."""
    write_text(path, _step_lines(steps))


def append_steps(steps: Sequence[TrainingStep], path: Path) -> None:
    """Append training steps to a JSON-lines file."""
    with path.open("a") as file:
        file.write(_step_lines(steps))


def _step_lines(steps: Sequence[TrainingStep]) -> str:
    return "".join(step.model_dump_json() + "\n" for step in steps)


def load_steps(path: Path) -> list[TrainingStep]:
    """Return the training steps of a JSON-lines file; if a step is logged twice (resumed runs), the later line.

    A last line without a line break, left by a crash while writing, is ignored.
    Raises: EvalError where any other line is not a training step.
    """
    try:
        whole, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
        steps = [TrainingStep.model_validate_json(line) for line in whole.splitlines() if line]
    except OSError as error:
        raise EvalError(f"cannot read {path}: {error.strerror or type(error).__name__}") from error
    except ValueError as error:  # also a ValidationError, and bytes that are not UTF-8
        raise EvalError(
            f"{path} holds a line that is not a training step",
            hint=f"delete {path.parent} and run the same command again: it trains this run anew",
        ) from error
    latest = {step.step: step for step in steps}
    return [latest[step] for step in sorted(latest)]
