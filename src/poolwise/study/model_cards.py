"""What a study knows for the cards of its models: their training, and once it is finished their scores."""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from poolwise.cards import (
    FACTS,
    BaselineScore,
    CategoryScore,
    StudyFacts,
    TaskScoreFacts,
    TrainingFacts,
    load_facts,
    write_card,
)
from poolwise.data.triples import Triple
from poolwise.results import Contrast, Results, StudyResults, TaskScore
from poolwise.study.provenance import machine

_LICENCES = {"poolwise/pydoc": "PSF-2.0"}
"""Of training data that ships with poolwise: Python's documentation."""
_FILE = re.compile(r".*\.(jsonl?|csv|tsv|parquet|txt)(\.gz)?", re.IGNORECASE)


def training_history(
    triples: Iterable[Triple],
    settings: Mapping[str, str | int | float | bool],
    seed: int,
    notes: Sequence[str],
    seconds: float | None,
) -> TrainingFacts:
    """Return how a model was trained, without paths of this machine.

    Args:
        settings: of the training, by recipe key.
        seconds: that the training took.
    """
    rows = Counter(_shown(triple.source) for triple in triples)
    return TrainingFacts(
        sources=dict(rows),
        licences={name: licence for name, licence in _LICENCES.items() if name in rows},
        seed=seed,
        settings=dict(settings),
        notes=list(notes),
        seconds=seconds,
        machine=machine_text(machine()),
    )


def _shown(source: str) -> str:
    """Return a source's name: of files without folders, of data sets unchanged."""
    return Path(source).name if _FILE.fullmatch(source) or Path(source).is_absolute() else source


def machine_text(found: Mapping[str, str]) -> str:
    """Return the parts of a machine that determine its speed, in words."""
    units = {"processor": "{}", "accelerator": "{}", "cores": "{} cores", "fast_bf16": "{}"}
    words = {"true": "fast bf16", "false": "no fast bf16"}
    known = [form.format(words.get(found[k], found[k])) for k, form in units.items() if found.get(k, "none") != "none"]
    return ", ".join(known)


def update_cards(study: StudyResults, out: Path) -> None:
    """Write the scores of a finished study into the cards of its models; a card edited by hand keeps its text.

    Raises: ModelError where the facts of a card are damaged.
    """
    results, measured = study.results, study.measured
    for run in dict.fromkeys(score.run for score in results.scores):
        folder = out / "runs" / run / "model"
        facts = load_facts(folder / FACTS)
        if facts is None:  # a baseline, or a model that was saved by an older version
            continue
        cost = measured.costs.get(run)
        update = {
            "study": study_facts(results, run),
            "texts_per_second": cost.encode_texts_per_second if cost else None,
            "machine": machine_text(measured.machine),
        }
        write_card(folder, facts.model_copy(update=update))


def study_facts(results: Results, run: str) -> StudyFacts:
    """Return the scores of one run of a study beside those of its design and of the baselines."""
    own = [score for score in results.scores if score.run == run]
    name, seed = own[0].name, own[0].seed
    seeds = {score.seed for score in results.scores if score.name == name}
    against = [c for c in results.comparison.against_baselines if c.a == name and c.task is None]
    infos = {info.task: info for info in results.tasks}
    categories = [
        _category(results, mean.category, name, own, against)
        for mean in results.comparison.means
        if mean.name == name and any(info.category == mean.category for info in infos.values())
    ]
    return StudyFacts(
        name=results.name,
        recipe_hash=results.recipe_hash,
        num_seeds=len(seeds),
        seed=seed,
        interval=_interval_words(against),
        categories=categories,
        tasks=[
            TaskScoreFacts(
                task=score.task,
                category=infos[score.task].category,
                metric=infos[score.task].metric,
                num_items=infos[score.task].num_items,
                score=score.score,
            )
            for score in own
        ],
        warnings=[text for category in categories if (text := _warning(category))],
    )


def _category(
    results: Results, category: str, name: str, own: Sequence[TaskScore], against: Sequence[Contrast]
) -> CategoryScore:
    tasks = [info for info in results.tasks if info.category == category]
    means = {m.name: m for m in results.comparison.means if m.category == category}
    scores = [score.score for score in own if score.task in {info.task for info in tasks}]
    tests = {c.b: c for c in against if c.category == category}
    return CategoryScore(
        category=category,
        metric=tasks[0].metric,
        num_tasks=means[name].num_tasks,
        num_items=sum(info.num_items for info in tasks),
        own=statistics.fmean(scores) if len(scores) == means[name].num_tasks else None,
        mean=means[name].mean,
        baselines=[
            BaselineScore(
                name=baseline,
                mean=means[baseline].mean,
                difference=tests[baseline].difference if baseline in tests else None,
                interval=_interval(tests[baseline]) if baseline in tests else None,
                verdict=tests[baseline].verdict if baseline in tests else None,
            )
            for baseline in results.anchors
            if baseline in means
        ],
    )


def _interval(found: Contrast) -> tuple[float, float] | None:
    """Return the interval that the verdict uses, as the report shows it first where there is one."""
    return found.simultaneous or found.interval


def _interval_words(against: Sequence[Contrast]) -> str:
    known = [c for c in against if _interval(c) is not None]
    if not known:
        return ""
    joint = ", simultaneous for all designs and baselines of the study" if known[0].simultaneous else ""
    how = f" ({known[0].interval_method})" if known[0].interval_method else ""
    return f"In brackets the {known[0].interval_level:.0%} interval of that difference{joint}{how}."


def _warning(found: CategoryScore) -> str:
    above = [b.name for b in found.baselines if b.difference is not None and b.difference < 0]
    title = found.category.replace("_", " ")
    return f"In {title}, {' and '.join(above)} scores higher than this design: do not use it there." if above else ""
