"""Which tasks, splits and subsets of MTEB count: those of a benchmark or a language, by mteb's own definitions.

mteb is imported only if a benchmark or a language is asked for, because importing it imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from poolwise.errors import ConfigError, nearest
from poolwise.foreign.mteb_tasks import MtebTask, known_task, main_metric
from poolwise.records import Category

ENGLISH = "eng"
CATEGORY_OF: dict[str, Category] = {
    "STS": "sts",
    "Retrieval": "retrieval",
    "Reranking": "reranking",
    "Classification": "classification",
    "Clustering": "clustering",
    "PairClassification": "pair_classification",
}
"""MTEB's types of tasks that are compared here; a benchmark counts the others in its ranks."""
RANKED_BY = ("mean_task", "mean_task_type")


@dataclass(frozen=True)
class Benchmark:
    """The tasks of one of MTEB's benchmarks, by name, and those that are only parts of a task."""

    name: str
    tasks: Mapping[str, MtebTask]
    parts: Mapping[str, MtebTask] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Scope:
    """What is read from files of MTEB: the tasks of a benchmark, or one language of every task.

    ``language`` is a code of ISO 639-3. Without a benchmark, English tasks are described by poolwise's own list, unless
    ``uses_mteb``.
    """

    benchmark: Benchmark | None = None
    language: str = ENGLISH
    uses_mteb: bool = False

    @property
    def is_defined(self) -> bool:
        """Whether mteb's definitions name the subsets, so that their languages need no check."""
        return self.benchmark is not None or self.uses_mteb

    @property
    def counts_other_kinds(self) -> bool:
        return self.benchmark is not None

    def has(self, name: str) -> bool:
        """Return whether a task is read at all."""
        return self.benchmark is None or name in self.benchmark.tasks or name in self.benchmark.parts

    def is_other_kind(self, name: str) -> bool:
        """Return whether a benchmark has the task, and its type is not one of those compared here."""
        task = self.benchmark.tasks.get(name) if self.benchmark else None
        return task is not None and task.category is None

    def task(self, name: str) -> MtebTask | None:
        """Return the description of a task; None if neither mteb nor poolwise describes it in this language."""
        if self.benchmark is not None:
            return self.benchmark.tasks.get(name) or self.benchmark.parts.get(name)
        return _in_language(name, self.language) if self.uses_mteb else known_task(name)


DEFAULT = Scope()
"""Everything, in English."""


def scope_of(benchmark: str | None = None, language: str | None = None) -> Scope:
    """Return what ``--benchmark`` and ``--language`` ask for.

    Raises: ConfigError where mteb is missing or does not know the benchmark or the language, or both are given.
    """
    if benchmark and language:
        raise ConfigError("--benchmark and --language are both given", "wanted one: a benchmark names its languages")
    if benchmark:
        return Scope(load_benchmark(benchmark))
    if language is None:
        return DEFAULT
    _check_language(language)
    return Scope(language=language, uses_mteb=True)


def load_benchmark(name: str) -> Benchmark:
    """Return mteb's definition of a benchmark. Raises: ConfigError where mteb is missing or does not know the name."""
    mteb = _mteb()
    try:
        found = mteb.get_benchmark(name)
    except KeyError as error:
        known = [benchmark.name for benchmark in mteb.get_benchmarks()]
        raise ConfigError(f"mteb has no benchmark {name!r}", nearest(name, known)) from error
    tasks = {task.metadata.name: _described(task) for task in found.tasks}
    parts = {
        part.metadata.name: _described(part)
        for task in found.tasks
        for part in (task.metadata.tasks if task.is_aggregate else ())
        if part.metadata.name not in tasks
    }
    shown = [str(getattr(mean, "value", "")) for mean in found.aggregations]
    lacking = [mean for mean in RANKED_BY if mean not in shown]
    note = f"MTEB's leaderboard does not show {' and '.join(lacking)} of {name}" if lacking else ""
    return Benchmark(str(found.name), tasks, parts, note)


@lru_cache(maxsize=4096)
def _in_language(name: str, language: str) -> MtebTask | None:
    try:
        return _described(_mteb().get_task(name, languages=[language], exclusive_language_filter=True))
    except (KeyError, ValueError):
        # mteb does not know the task, or not in this language.
        return None


def _described(task: Any) -> MtebTask:
    metadata = task.metadata
    category = CATEGORY_OF.get(metadata.type)
    return MtebTask(
        metadata.name,
        category,
        # mteb 2 names average precision to depth 1,000; it is that of all documents.
        main_metric(category) if category == "reranking" else metadata.main_score,
        tuple(task.eval_splits),
        tuple(task.hf_subsets or metadata.hf_subsets),
        metadata.type,
        tuple(part.metadata.name for part in metadata.tasks) if task.is_aggregate else (),
    )


def _check_language(language: str) -> None:
    from importlib import import_module

    _mteb()
    known = import_module("mteb.languages").ISO_TO_LANGUAGE
    if language not in known:
        raise ConfigError(f"--language {language}: no language code", f"wanted ISO 639-3; {_like(language, known)}")


def _like(language: str, known: Mapping[str, str]) -> str:
    by_name = {name.lower(): code for code, name in known.items()}
    if code := by_name.get(language.lower()):
        return f"did you mean {code!r}?"
    return "such as 'deu' or 'fra'"


def _mteb() -> Any:
    try:
        import mteb
    except ImportError as error:
        raise ConfigError(
            "--benchmark and --language need mteb, which is not installed", hint="pip install mteb"
        ) from error
    return mteb
