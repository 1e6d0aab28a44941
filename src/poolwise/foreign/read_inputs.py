"""Reads the arguments of ``poolwise compare A B C``: detects the kind of each, and reports what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from poolwise.errors import EvalError, collect
from poolwise.foreign.benchmarks import DEFAULT, Scope
from poolwise.foreign.csv_table import csv_head, read_csv
from poolwise.foreign.harmony import joined
from poolwise.foreign.json_runs import is_json_path, is_json_run
from poolwise.foreign.mteb_models import NO_RESULT, read_mteb
from poolwise.foreign.own_runs import read_own
from poolwise.foreign.predictions import prediction_paths, read_predictions
from poolwise.foreign.qrels import Qrels, is_qrels_line, load_qrels
from poolwise.foreign.source import Source, first_line
from poolwise.foreign.studies import by_place, by_training, identical_notes, named, once, seed_notes, told_apart
from poolwise.foreign.trec import is_run_line, read_trec
from poolwise.records import Run, iter_run_folders
from poolwise.stats.designs.collect import Family
from poolwise.wording import MOST_NAMES

WANTED = (
    "wanted runs or studies of poolwise, a folder of MTEB results of a model, mteb predictions, runs in TREC's format "
    "or JSON, or a table (CSV, parquet) with model, task, item, score"
)


@dataclass(frozen=True)
class Inputs:
    """Everything that was read: comparable runs, their sources, and notes for the report."""

    runs: list[Run]
    sources: list[Source]
    notes: list[str]
    scope: Scope = DEFAULT

    @property
    def declared(self) -> tuple[str | None, Sequence[str]] | None:
        """The reference and the comparisons that a study declares; None unless a study is the only input."""
        found = self.sources[0].declared if len(self.sources) == 1 else None
        if found is None:
            return None
        reference = found[0] if found[0] in self.sources[0].models else None
        return reference, [name for name in found[1] if name != "reference" or reference]

    @property
    def damaged(self) -> list[EvalError]:
        """Why files of runs and studies of poolwise, which were whole once, could not be used."""
        return [error for source in self.sources if source.kind == "poolwise" for error in source.damaged]

    def require_whole(self) -> None:
        """Raise EvalError that names the damaged and missing files of runs and studies of poolwise, if there are."""
        if damaged := list(dict.fromkeys(error.got for error in self.damaged)):
            shown = "; ".join(damaged[:MOST_NAMES]) + (
                f"; and {more} more" if (more := len(damaged[MOST_NAMES:])) else ""
            )
            raise EvalError(
                shown,
                "wanted every score as it was written: without one, a task is left out of the comparison",
                "repeat the command that wrote the run or the study, or give --set-aside to compare without them",
            )

    @property
    def family(self) -> Family:
        """Which contrasts are corrected together: what a study declares if it is the only input, else all."""
        return self.sources[0].family if len(self.sources) == 1 else "all"

    @property
    def share(self) -> float:
        """The part of 0.05 that verdicts may use: the least of all inputs, below 1 if a study looks several times."""
        return min(source.share for source in self.sources)


def read_inputs(
    paths: Sequence[Path],
    qrels: Sequence[Path] = (),
    include_external: bool = False,
    names: Mapping[str, Path] | None = None,
    scope: Scope = DEFAULT,
    intersect: bool = False,
) -> Inputs:
    """Return the runs in ``paths``, of any supported tool.

    Args:
        qrels: relevance judgements for TREC runs and predictions; ``paths`` may contain judgements too.
        include_external: also read self-reported scores from MTEB's ``external`` folders.
        names: further paths by the name that their model gets in the comparison.
        scope: the benchmark or the language of MTEB that is read; of other tools, the tasks of the benchmark.
        intersect: cut each task to the items that all models have, instead of an error where items differ.
    Raises: EvalError where a path is of no known kind, gives no score, or cannot be read.
    """
    inputs = [*((path, "") for path in paths), *((path, name) for name, path in (names or {}).items())]
    paths = [path for path, _ in inputs]
    for path in (*paths, *qrels):
        if not path.exists():
            raise EvalError(f"no run in {path}: no such file or folder", WANTED)
    judged = [path for path in paths if path.is_file() and _file_kind(path) == "qrels"]
    everyone = [load_qrels(path) for path in dict.fromkeys((*qrels, *judged))]
    sources: list[Source] = []
    idle: list[Source] = []
    for path, name in inputs:
        found = _sources(path, everyone, include_external, scope)
        for source in found:
            source.runs = named(source.runs, name) if name else source.runs
            _keep_in_scope(source, scope)
        # A folder in which something can be compared is used, whatever else it holds.
        idle += [] if any(source.runs or source.kind == "qrels" for source in found) else found
        sources += found
    _require_runs(idle)
    sources += [Source(found.path, "qrels") for found in everyone if found.path not in judged]
    if not any(source.runs for source in sources):
        raise EvalError(f"no run in {', '.join(map(str, paths))}", WANTED)
    told = _told_apart(sources)
    runs, notes = joined(sources, intersect, is_benchmark=scope.benchmark is not None)
    runs, repeated = once(runs)
    notes = [*repeated, *told, *notes, *identical_notes(runs)]
    notes = [*(note for source in sources for note in source.notes), *_left_out(sources), *notes]
    return Inputs(runs, sources, list(dict.fromkeys(notes)), scope)


def _told_apart(sources: Sequence[Source]) -> list[str]:
    """Give runs that are not seeds of one design names of their own, in place; return notes on the names."""
    everyone, notes = [run for source in sources for run in source.runs], []
    for tell in (told_apart, by_training):
        everyone, found = tell(everyone)
        notes += found
    rest = iter(everyone)
    for source in sources:
        source.runs = [next(rest) for _ in source.runs]
    names = [source.path.resolve().name for source in sources]
    apart = by_place([(name, source.runs) for name, source in zip(names, sources, strict=True)])
    for source, runs in zip(sources, apart, strict=True):
        source.runs = runs
    return [*notes, *seed_notes(list(zip(names, apart, strict=True)))]


def _keep_in_scope(source: Source, scope: Scope) -> None:
    """Drop the tasks that are not in the benchmark, and set scores of types that are not compared here apart."""
    names = {task: task.rpartition("/")[2] for task in source.tasks}
    outside = sorted(task for task, name in names.items() if not scope.has(name))
    for task in outside:
        source.leave_out(f"not in {scope.benchmark.name if scope.benchmark else ''}", task)
    apart = {task: name for task, name in names.items() if scope.is_other_kind(name)}
    for run in source.runs:
        for task in apart.keys() & run.scores.keys():
            mine = source.other_scores.setdefault(run.manifest.label, {})
            mine.setdefault(apart[task], []).append(run.scores[task].score)
    dropped = {*outside, *apart}
    kept = [
        run.model_copy(update={"scores": {name: r for name, r in run.scores.items() if name not in dropped}})
        for run in source.runs
    ]
    source.runs = [run for run in kept if run.scores] if dropped else source.runs


def _sources(path: Path, everyone: Sequence[Qrels], include_external: bool, scope: Scope) -> list[Source]:
    if path.is_file():
        return [_file_source(path, everyone, scope)]
    if folders := list(iter_run_folders(path)):
        return [read_own(path, folders)]
    predictions = read_predictions(path, everyone) if prediction_paths(path) else None
    results = read_mteb(path, include_external, scope)
    found = [source for source in (predictions, results, _trec_source(path, everyone)) if source]
    if not any(map(_is_useful, found)) and (runs := _json_source(path, everyone)):
        # It has the same files as the results, none of which is one.
        found = [source for source in (predictions, runs) if source]
    if not any(map(_is_useful, found)):
        below = [read_mteb(folder, include_external, scope) for folder in sorted(path.iterdir()) if folder.is_dir()]
        found += [source for source in below if source]
    if not found:
        raise EvalError(f"no run in {path}", WANTED, "make one with poolwise eval or study")
    return found


def _is_useful(source: Source) -> bool:
    """Return whether a source has something of its kind, even if it cannot be compared."""
    return bool(source.runs or source.other_scores or source.left_out.keys() - {NO_RESULT})


def _trec_source(path: Path, everyone: Sequence[Qrels]) -> Source | None:
    """Return the TREC runs in a folder, or None; other files with the suffix of a run are named."""
    kinds = {}
    for file in sorted(path.iterdir()):
        try:
            kinds[file] = _file_kind(file) if file.is_file() else ""
        except EvalError:
            # Read again with the runs, which names the error.
            kinds[file] = "trec"
    files = [file for file, kind in kinds.items() if kind == "trec"]
    suffixes = {_suffix(file) for file in files}
    others = [file for file, kind in kinds.items() if file.is_file() and kind != "trec" and _suffix(file) in suffixes]
    return _runs_source(path, files, others, everyone) if files else None


def _json_source(path: Path, everyone: Sequence[Qrels]) -> Source | None:
    """Return the runs in JSON in a folder, or None; other files of JSON are named."""
    predicted = prediction_paths(path)
    everything = [file for file in sorted(path.iterdir()) if file.is_file() and is_json_path(file)]
    everything = [file for file in everything if file not in predicted]
    files = [file for file in everything if is_json_run(file, on_error=True)]
    others = [file for file in everything if file not in files]
    return _runs_source(path, files, others, everyone) if files else None


def _runs_source(path: Path, files: Sequence[Path], others: Sequence[Path], everyone: Sequence[Qrels]) -> Source:
    source = read_trec(path, files, everyone)
    for file in others:
        source.leave_out("not a run: empty, cut in its first line, or of another kind", file.name)
    return source


def _suffix(path: Path) -> str:
    return Path(path.name.removesuffix(".gz")).suffix


def _file_source(path: Path, everyone: Sequence[Qrels], scope: Scope) -> Source:
    kind = "trec" if is_json_run(path) else _file_kind(path)
    if kind == "csv":
        return read_csv(path, scope)
    if kind == "trec":
        return read_trec(path, [path], everyone)
    if kind == "qrels":
        return Source(path, "qrels")
    hint = "give the model's folder instead" if path.suffix == ".json" else ""
    raise EvalError(f"unknown kind of input: {path}", WANTED, hint)


def _file_kind(path: Path) -> str:
    """Return ``csv``, ``trec``, ``qrels`` or an empty text, from the name and the first line that is not blank."""
    if path.suffix == ".parquet":
        return "csv"
    if is_json_path(path) or path.suffix in (".html", ".md", ".tex", ".pdf", ".png", ".safetensors", ".bin"):
        return ""
    line = first_line(path)
    if csv_head(line):
        return "csv"
    if is_run_line(line):
        return "trec"
    return "qrels" if is_qrels_line(line) else ""


def _require_runs(idle: Sequence[Source]) -> None:
    """Raise EvalError where inputs hold nothing to compare: the errors of their files, or why each gives nothing."""
    damaged = [error for source in idle for error in source.damaged]
    if not any(source.left_out for source in idle):
        if len(damaged) == 1:
            raise damaged[0]
        paths = dict.fromkeys(str(source.path) for source in idle)
        collect([str(error) for error in damaged], EvalError, f"cannot read {', '.join(paths)}")
    if idle:
        raise EvalError("; ".join(_nothing(source) for source in idle), WANTED)


def _nothing(source: Source) -> str:
    reasons = [f"{reason} ({', '.join(names[:5])})" for reason, names in source.left_out.items()]
    reasons += [error.got for error in source.damaged]
    return f"nothing in {source.path} can be compared: {'; '.join(reasons) or 'it has no task'}"


def _left_out(sources: Sequence[Source]) -> list[str]:
    return [
        f"{', '.join(source.models) or source.path}: left out {', '.join(sorted(names))}: {reason}"
        for source in sources
        for reason, names in source.left_out.items()
    ]


def missing_tasks(runs: Sequence[Run]) -> Mapping[str, list[str]]:
    """Return, by model, the tasks that it lacks at some seed but another model has."""
    taking_part = [run for run in runs if run.manifest.kind != "anchor"]
    everything = {task for run in taking_part for task in run.scores}
    missing: dict[str, set[str]] = {}
    for run in taking_part:
        name = run.manifest.label
        missing.setdefault(name, set()).update(everything - run.scores.keys())
    return {name: sorted(tasks) for name, tasks in missing.items()}
