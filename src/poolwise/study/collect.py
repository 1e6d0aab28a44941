"""Collects the records of a study's jobs into one ``StudyResults``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from poolwise.attentions import parse_attention
from poolwise.config import Recipe
from poolwise.design import PAPER, POOLINGS, parse_design
from poolwise.errors import EvalError
from poolwise.hub import is_hub_id
from poolwise.jobs import Job, is_done
from poolwise.records import CATEGORIES, Category, Run, items_path, load_run, load_steps, load_texts
from poolwise.results import (
    Comparison,
    DesignInfo,
    DesignLooks,
    DimensionMean,
    EntrantInfo,
    Measured,
    Results,
    StudyResults,
    TaskInfo,
    TaskScore,
    TrainingCurve,
)
from poolwise.stats import compare_runs, with_extremes
from poolwise.study.adapt import adaptation_costs, adaptation_info, adaptation_notes
from poolwise.study.jobs import check_controls, tuning_scores
from poolwise.study.perform import tuning_folder
from poolwise.study.plan import InputHashes, study_hash

_NOT_TRAINED = ("anchor", "entrant")
"""The kinds of jobs whose rows the designs are tested against."""


def collect(
    recipe: Recipe,
    jobs: Sequence[Job],
    hashes: InputHashes,
    out: Path,
    failures: dict[str, str],
    measured: Measured,
    share: float = 1.0,
) -> StudyResults:
    """Return the results that the report shows, read from the records of finished jobs.

    Args:
        failures: the error of each failed job, by label; any other unfinished job counts as not run yet.
        share: the part of 0.05 that the verdicts may use.
    Raises: EvalError where no design is trained and evaluated.
    """
    finished = [job for job in jobs if job.kind in ("eval", *_NOT_TRAINED) and is_done(out, job)]
    runs = {job: _load(job, hashes, out) for job in finished}
    trained = {job: run for job, run in runs.items() if run.manifest.kind == "trained"}
    if not trained:
        reasons = "; ".join(f"{label}: {message}" for label, message in list(failures.items())[:3])
        raise EvalError(f"no design was trained and evaluated ({reasons})", hint=f"see {out / 'jobs'}")
    not_run = [job.label for job in jobs if job.label not in failures and not is_done(out, job)]
    check_controls([run.manifest for run in trained.values()])
    adaptation = adaptation_info(recipe, jobs, out)
    notes = [*adaptation_notes(recipe, adaptation), *_kernel_notes(runs.values()), *_missing_notes(failures, not_run)]
    results = Results(
        name=recipe.name,
        base=recipe.base,
        recipe=recipe.model_dump(mode="json"),
        recipe_hash=study_hash(recipe, hashes),
        designs=[_design_info(name, trained) for name in recipe.designs],
        anchors=[job.name for job in finished if job.kind in _NOT_TRAINED],
        entrants=[_entrant_info(job, run, hashes) for job, run in runs.items() if job.kind == "entrant"],
        tasks=_tasks(list(runs.values())),
        scores=[_score(job, task, record.score) for job, run in runs.items() for task, record in run.scores.items()],
        comparison=_compare(recipe, list(runs.values()), out, notes, share),
        training=[_curve(job, out) for job in trained],
        adaptation=adaptation,
        hashes=_shared(hashes) | _inits(trained),
        data_fingerprints={"base": hashes.base} | _base_facts(recipe.base) | hashes.held | hashes.data,
        failures=failures,
        not_run=not_run,
        looks=[_looks(job, run) for job, run in trained.items() if run.manifest.looks],
        dimensions=_dimensions(trained),
        tuning={job.name: _tuning(recipe, out, job) for job in jobs if job.kind == "tune"},
    )
    costs = {job.run: run.manifest.cost for job, run in runs.items()} | adaptation_costs(adaptation, out)
    return StudyResults(results=results, measured=measured.model_copy(update={"costs": costs}))


def _load(job: Job, hashes: InputHashes, out: Path) -> Run:
    """Return the run of a job with its scores on the study's tasks; its folder may hold those of earlier recipes too.

    Raises: EvalError where the scores of a task are those of other texts.
    """
    run = load_run(out / "runs" / job.run)
    scores = {task: record for task, record in run.scores.items() if task in hashes.tasks}
    if other := [task for task, record in scores.items() if record.fingerprint != hashes.tasks[task]]:
        path = items_path(out / "runs" / job.run, other[0])
        raise EvalError(
            f"{path} holds scores of task {other[0]} with other texts or labels",
            "wanted those of this study's tasks",
            f"delete it and run the study again: it repeats {job.label}",
        )
    return Run(manifest=run.manifest, scores=scores)


def _entrant_info(job: Job, run: Run, hashes: InputHashes) -> EntrantInfo:
    manifest = run.manifest
    return EntrantInfo(
        name=job.name, model=manifest.model, fingerprint=hashes.entrants[job.name], reading="; ".join(manifest.notes)
    )


def _base_facts(base: str) -> dict[str, str]:
    """Return the commit of a base from the hub, and the GGUF file of a base in one; {} for other bases."""
    from poolwise.models import base_origin, pinned_base

    repository, sign, commit = pinned_base(base).partition("@")
    found = {"base commit": commit.partition(":")[0]} if sign and is_hub_id(repository) else {}
    origin = base_origin(base)
    return found | ({"base file": origin} if origin else {})


def _kernel_notes(runs: Iterable[Run]) -> list[str]:
    """Return a note on the runs that used another attention kernel than usual, because that ignored the attention."""
    kernels: dict[str, list[str]] = {}
    for run in runs:
        if run.manifest.attention_kernel:
            kernels.setdefault(run.manifest.attention_kernel, []).append(run.manifest.name)
    return [
        f"computed with {kernel} attention, because the usual kernel ignored the attention: "
        + ", ".join(dict.fromkeys(names))
        for kernel, names in kernels.items()
    ]


def _missing_notes(failures: dict[str, str], not_run: list[str]) -> list[str]:
    effect = "its results are missing from every table"
    notes = [f"{label}: {message}; {effect}" for label, message in failures.items()]
    if not_run:
        notes.append(f"not run yet: {', '.join(not_run)}; their results are missing from every table")
    return notes


def _compare(recipe: Recipe, runs: list[Run], out: Path, notes: list[str], share: float) -> Comparison:
    names = {run.manifest.design for run in runs}
    reference = recipe.reference if recipe.reference in names else None
    comparisons = [name for name in recipe.comparisons if name != "reference" or reference]
    comparison = compare_runs(runs, reference=reference, comparisons=comparisons, family=recipe.family, share=share)
    comparison = with_extremes(comparison, runs, load_texts(out))
    return comparison.model_copy(update={"notes": notes + comparison.notes})


def _design_info(name: str, trained: dict[Job, Run]) -> DesignInfo:
    design = parse_design(name)
    own = {str(job.seed): run.manifest for job, run in trained.items() if job.name == name}
    sizes = [manifest.trainable_parameters for manifest in own.values()]
    on_adapted = ", on the adapted base" if any(manifest.adaptation for manifest in own.values()) else ""
    return DesignInfo(
        design=name,
        alias=design.alias,
        summary=f"{POOLINGS[design.pooling].summary}, {parse_attention(design.attention).words}{on_adapted}",
        decision=PAPER[design.alias].decision if design.alias else None,
        trainable_parameters=sizes[0] if sizes else None,
        learning_rate={seed: m.learning_rate for seed, m in own.items() if m.learning_rate is not None},
        layer_weights={seed: m.layer_weights for seed, m in own.items() if m.layer_weights is not None},
    )


def _tasks(runs: list[Run]) -> list[TaskInfo]:
    records = {task: record for run in runs for task, record in run.scores.items()}
    return [
        TaskInfo(
            task=record.task,
            category=record.category,
            metric=record.metric,
            num_items=record.num_items,
            num_total=record.num_total,
            fingerprint=record.fingerprint,
        )
        for _, record in sorted(records.items())
    ]


def _score(job: Job, task: str, score: float) -> TaskScore:
    return TaskScore(run=job.run, name=job.name, seed=job.seed, task=task, score=score)


def _curve(job: Job, out: Path) -> TrainingCurve:
    path = out / "runs" / job.run / "training.jsonl"
    steps = load_steps(path) if path.is_file() else []
    return TrainingCurve(
        design=job.name,
        seed=job.seed,
        steps=[step.step for step in steps],
        loss=[step.loss for step in steps],
        learning_rate=[step.learning_rate for step in steps],
    )


def _looks(job: Job, run: Run) -> DesignLooks:
    looks, chosen = run.manifest.looks, run.manifest.chosen_step
    assert chosen is not None, "a training with looks keeps the weights of one"
    steps, scores = [look.step for look in looks], [look.score for look in looks]
    return DesignLooks(design=job.name, seed=job.seed, steps=steps, scores=scores, chosen_step=chosen)


def _dimensions(trained: dict[Job, Run]) -> list[DimensionMean]:
    """Return the mean scores by category, design and dimension, in the order of the designs."""
    found: dict[tuple[Category, str, int], list[float]] = {}
    for job, run in trained.items():
        for record in run.scores.values():
            for dimension, score in record.by_dimension.items():
                found.setdefault((record.category, job.name, dimension), []).append(score)
    ordered = sorted(found.items(), key=lambda item: CATEGORIES.index(item[0][0]))
    return [
        DimensionMean(category=category, name=name, dimension=dimension, mean=sum(scores) / len(scores))
        for (category, name, dimension), scores in ordered
    ]


def _shared(hashes: InputHashes) -> dict[str, str]:
    found = {f"schedule, seed {seed}": value for seed, value in hashes.schedules.items()}
    return found | ({"texts of the adaptation": hashes.adapt_texts} if hashes.adapt_texts else {})


def _inits(trained: dict[Job, Run]) -> dict[str, str]:
    found = {
        f"{'adapted ' if part == 'base' and run.manifest.adaptation else ''}{part}, seed {run.manifest.seed}": value
        for run in trained.values()
        for part, value in run.manifest.hashes.items()
        if part in ("base", "lora_init")
    }
    return dict(sorted(found.items()))


def _tuning(recipe: Recipe, out: Path, job: Job) -> dict[str, float]:
    return {f"{rate:g}": score for rate, score in tuning_scores(recipe, tuning_folder(out, job)).items()}
