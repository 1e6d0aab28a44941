"""Trains one model outside a study, with the same recipe keys, code and records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poolwise.config import Recipe, TrainConfig, build_recipe, too_wide
from poolwise.design import Design, narrowest, parse_design
from poolwise.errors import ConfigError, ModelError, nearest
from poolwise.jobs import Report
from poolwise.overrides import apply_override, set_key
from poolwise.ranks import current_ranks, is_launched, join_launched, visible_gpus, wait_for_all
from poolwise.records import RunManifest, load_record
from poolwise.storage.checksums import damages, files_below, save_checksums
from poolwise.storage.fingerprints import ABOUT, SUMS
from poolwise.storage.lock import locked
from poolwise.storage.new_folders import require_new_folder
from poolwise.study.folders import ANOTHER, differing_keys, read_json, require_writable, write_json
from poolwise.study.jobs import train_run
from poolwise.study.limits import require_sharers

if TYPE_CHECKING:
    from poolwise.study.plan import InputHashes

_READ = ("base", "base_dtype", "data", "train", "prompts", "eval", "split_special_tokens")
"""The keys of a recipe that a single training reads."""


@dataclass(frozen=True)
class SingleRun:
    """The checked settings of ``poolwise train``: a recipe with one design and one seed."""

    recipe: Recipe

    @property
    def design(self) -> Design:
        """The design to train."""
        return parse_design(self.recipe.designs[0])

    @property
    def seed(self) -> int:
        """The seed of batches, LoRA, dropout and head."""
        return self.recipe.seeds[0]

    @property
    def spec(self) -> dict[str, object]:
        """The settings as JSON without the dtype of the base; a run resumes only with an equal spec."""
        read = {key: self.recipe.settings[key] for key in ("base", "data", "train", "prompts")}
        if not self.recipe.split_special_tokens:
            read["split_special_tokens"] = False
        return read | {"design": str(self.design), "seed": self.seed, "max_tokens": self.recipe.max_tokens}


def build_single_run(
    design: str,
    base: str | None,
    data: Sequence[str | Mapping[str, object]],
    steps: int | None,
    seed: int,
    max_rows: int | None,
    overrides: Sequence[str],
    settings: Mapping[str, object] | None = None,
    study: Recipe | None = None,
) -> SingleRun:
    """Return a checked run from command-line values.

    Args:
        base: None for that of the study, or ``poolwise/nano``.
        data: training sources: names, or any value of a recipe's ``data.train``; empty for those of the study.
        overrides: ``key=value`` with the recipe keys that training reads; the prefix ``train.`` may be left out.
        settings: the same keys with parsed values.
        study: the recipe of a study; what is not given otherwise is as in its training of this design and seed.
    Raises: ConfigError for an unknown design or key, naming the nearest, a key that training does not read, or a study
        that prepares the training of this design in a way that a single one does not.
    """
    name = str(parse_design(design))
    tree = _tree(study, base or "poolwise/nano", data)
    tree |= {"name": "train", "designs": [name], "reference": name, "seeds": [seed], "tasks": ["none"]}
    given = {"base": base, "data.train": list(data) or None, "data.max_rows": max_rows, "train.steps": steps}
    for key, chosen in given.items():
        if chosen is not None:
            set_key(tree, key.split("."), chosen)
    for override in overrides:
        key, sign, value = override.partition("=")
        apply_override(tree, f"{_full_key(key.strip())}{sign}{value}", Recipe)
    for key, setting in (settings or {}).items():
        set_key(tree, _full_key(key).split("."), setting)
    run = SingleRun(build_recipe(tree, "train"))
    if study is not None:
        _require_unprepared(study, run)
    return run


def _tree(study: Recipe | None, base: str, data: Sequence[object]) -> dict[str, Any]:
    if study is not None:
        whole = study.model_dump(mode="json")
        return {key: whole[key] for key in _READ}
    if not data:
        raise ConfigError("no training data", "wanted --data or --recipe", "--data poolwise/pydoc")
    return {"base": base, "data": {}, "train": {}}


def _require_unprepared(study: Recipe, run: SingleRun) -> None:
    """Raise ConfigError if a study trains this design from another base or at another rate than its recipe names."""
    from poolwise.study.plan import is_bidirectional

    recipe = run.recipe
    if study.adapt is not None and is_bidirectional(run.design.attention) and recipe.base == study.base:
        raise ConfigError(
            f"the recipe adapts its base for {run.design} (adapt), and a single training does not",
            "wanted the base that the study adapted",
            "--base STUDY/adapted/base-.../base",
        )
    if study.tune is not None and recipe.train.learning_rate == study.train.learning_rate:
        raise ConfigError(
            "the recipe looks for the learning rate of each design (tune), and a single training does not",
            "wanted a rate",
            "--set learning_rate=..., as the report of the study has it",
        )


def _full_key(key: str) -> str:
    """Return a key with its section; keys of ``train`` may come without."""
    first = key.partition(".")[0]
    if first in _READ:
        return key
    if first in Recipe.model_fields:
        raise ConfigError(
            f"--set {key}: not used by a single training",
            f"wanted a key of {', '.join(_READ)}",
            "poolwise study uses all keys of a recipe",
        )
    if first not in TrainConfig.model_fields:
        raise ConfigError(f"--set: unknown key {key!r}", nearest(key, [*_READ, *TrainConfig.model_fields]))
    return f"train.{key}"


def train_single(
    run: SingleRun,
    out: Path,
    report: Report,
    device: str | None = None,
    on_note: Callable[[str], None] | None = None,
) -> RunManifest:
    """Train one design into ``out``; a finished run is returned, an unfinished one resumes.

    Under torchrun or ``accelerate launch``, every process calls this and they train together; the first one writes and
    reports. Otherwise ``train.processes`` says how many processes are started.

    Args:
        on_note: called with a line per training source that says how it was read.
    Raises: ConfigError where ``out`` holds another run or is in use, or the machine has fewer GPUs than processes.
    """
    from poolwise.kernels.devices import require_device, require_processes
    from poolwise.study.inputs import held_dtype
    from poolwise.study.plan import InputHashes

    ranks = join_launched() if is_launched() else current_ranks()
    require_device(device)
    recipe = run.recipe
    if ranks.size > 1:
        _require_same_number(recipe.train.processes, ranks.size)
        require_processes(ranks.local_size, device, ranks.num_gpus)
    else:
        require_processes(recipe.train.processes, device, len(visible_gpus()))
    require_sharers(recipe.train, max(recipe.train.processes, ranks.size))
    hashes = InputHashes(recipe.base, {}, {}, {}, {}, base_dtype=held_dtype(recipe, device))
    spec = run.spec | hashes.held
    if ranks.is_first:
        _check_training(spec, out)
    with locked(out) if ranks.is_first else nullcontext():
        if ranks.is_first:
            _check_training(spec, out)  # once more: another process may have begun a run since
        wait_for_all()
        if (out / "run.json").is_file() and (out / "model").is_dir():
            _require_whole(out)
            return load_record(RunManifest, out / "run.json")
        manifest = _train(run, out, report, device, on_note, hashes, spec)
        if ranks.is_first:
            save_checksums(out, _written(out))
        return manifest


def _written(out: Path) -> list[Path]:
    """Return the files of a finished training that nothing changes later."""
    found = [*files_below(out / "model"), out / "training.jsonl", out / "looks.json"]
    return [path for path in found if path.is_file() and path.name not in ABOUT]


def _require_whole(out: Path) -> None:
    """Check that the files of a finished training are as it wrote them; an older version recorded no checksums.

    Raises: ModelError naming the file and what to delete.
    """
    if not (out / SUMS).is_file():
        return
    again = f"delete {out / 'model'} and run the same command again: it trains the model anew"
    recorded = read_json(out / SUMS, f"delete it: the model is then used unchecked; or {again}")
    for name, problem in damages(out, {str(name): str(known) for name, known in recorded.items()}).items():
        raise ModelError(f"{out / name} {problem}", "wanted the finished run as it was trained", again)


def _train(
    run: SingleRun,
    out: Path,
    report: Report,
    device: str | None,
    on_note: Callable[[str], None] | None,
    hashes: InputHashes,
    spec: Mapping[str, object],
) -> RunManifest:
    from poolwise.data import build_schedule, describe_sources
    from poolwise.models import base_shape, pinned_base, resolve_base
    from poolwise.study.inputs import StudyInputs, load_stopping, load_training, source_categories
    from poolwise.training.trackers import missing_trackers

    ranks, recipe = current_ranks(), run.recipe
    training = load_training(recipe.data)
    for note in describe_sources(training) if on_note and ranks.is_first else ():
        on_note(note)  # type: ignore[misc]
    resolve_base(recipe.base)
    width, _ = narrowest(recipe.designs, base_shape(recipe.base)[1])
    if problem := too_wide(recipe.train, width) or missing_trackers(recipe.train.report_to):
        raise ConfigError(problem)
    stopping = load_stopping(recipe, [])
    schedule = build_schedule(
        training.triples, steps=recipe.train.steps, batch_size=recipe.train.batch_size, seed=run.seed
    )
    inputs = StudyInputs(
        base=pinned_base(recipe.base),
        triples=training.triples,
        source_category=source_categories(recipe),
        prompts=recipe.prompts,
        schedules={run.seed: schedule},
        tasks=[],
        dev=[],
        hashes=replace(hashes, data=training.fingerprints, schedules={run.seed: schedule.hash}),
        stopping=stopping,
        split_special_tokens=recipe.split_special_tokens,
    )
    if ranks.is_first:
        write_json(out / "spec.json", spec)
    return train_run(run.design, inputs, recipe.train, schedule, run.seed, out, report, recipe.max_tokens, device)


def _require_same_number(asked: int, started: int) -> None:
    """Raise ConfigError if a recipe asks for another number of processes than torchrun or accelerate started."""
    if asked not in (1, started):
        raise ConfigError(
            f"train.processes is {asked}, but {started} processes were started",
            "wanted the same number",
            "leave train.processes out under torchrun and accelerate launch",
        )


def _check_training(spec: Mapping[str, object], out: Path) -> None:
    path = out / "spec.json"
    if not path.is_file():
        require_new_folder(out, "training run")
    elif differing := differing_keys(spec, read_json(path, ANOTHER)):
        raise ConfigError(
            f"{out} holds another training run: {', '.join(differing)} differ(s)",
            hint="give another --out, or the same options",
        )
    require_writable(out)
