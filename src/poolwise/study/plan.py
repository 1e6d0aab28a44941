"""The plan of a study: its jobs, each with a key that hashes everything that can change its result."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from poolwise.attentions import Attention
from poolwise.base_dtypes import HeldDtype
from poolwise.config import Recipe, hashed_training
from poolwise.design import parse_design
from poolwise.jobs import Job
from poolwise.records import run_folder_name
from poolwise.results import RESULTS_VERSION
from poolwise.storage.fingerprints import fingerprint

ANCHOR_SEED = 0
SCREEN_FOLDER = "screen"
"""The subfolder with the screen of a study that started with one."""
ADAPT_READS = ("warmup_ratio", "weight_decay", "max_grad_norm", "gradient_checkpointing", "precision")
"""The keys of ``train`` that an adaptation uses, besides the method."""
ENTRANT_READS = ("batch_size", "precision")
"""The keys of ``eval`` that the evaluation of an entrant uses; its length is its own."""


@dataclass(frozen=True)
class InputHashes:
    """Fingerprints of a study's inputs. ``schedules`` are by seed, ``tasks`` and ``dev`` by task name.

    ``adapt_texts`` is None if the base is not adapted. ``base_dtype`` is the dtype in which the base is held here.
    ``stopping`` are the dev tasks of early stopping. ``entrants`` are by name, in the order of the recipe.
    """

    base: str
    data: dict[str, str]
    schedules: dict[int, str]
    tasks: dict[str, str]
    dev: dict[str, str]
    adapt_texts: str | None = None
    base_dtype: HeldDtype = "fp32"
    stopping: dict[str, str] = field(default_factory=dict)
    entrants: dict[str, str] = field(default_factory=dict)

    @property
    def held(self) -> dict[str, str]:
        """The base's dtype for keys and records; empty for fp32, so that keys of older versions stay the same."""
        return {} if self.base_dtype == "fp32" else {"base_dtype": self.base_dtype}

    @property
    def by_part(self) -> dict[str, str]:
        """Every fingerprint by the name of its input; schedules are left out, since data, seeds and steps fix them."""
        found = {"base": self.base}
        if self.held:
            found["the dtype of the base"] = self.base_dtype
        found |= {f"training data {name}": value for name, value in self.data.items()}
        found |= {f"task {name}": value for name, value in self.tasks.items()}
        found |= {f"dev task {name}": value for name, value in self.dev.items()}
        found |= {f"early-stopping task {name}": value for name, value in self.stopping.items()}
        found |= {f"entrant {name}": value for name, value in self.entrants.items()}
        return found | ({"the texts of the adaptation": self.adapt_texts} if self.adapt_texts else {})


def study_hash(recipe: Recipe, inputs: InputHashes) -> str:
    """Return a hash of a recipe and of its inputs: equal hashes give equal numbers (on one machine)."""
    return fingerprint({"recipe": recipe.fingerprint, "inputs": inputs.by_part, "version": RESULTS_VERSION})


def plan_jobs(recipe: Recipe, inputs: InputHashes) -> list[Job]:
    """Return the jobs of a study, each after the jobs it needs.

    Baselines and entrants come first: they are cheap, and a task that cannot be scored shows before hours of training.
    Seeds are the outer loop, so that an interrupted study has every design at one seed before the next seed starts.
    """
    jobs = [_anchor(recipe, inputs, name) for name in recipe.anchors]
    jobs += [_entrant(recipe, inputs, name) for name in inputs.entrants]
    adapts = {name: job for name in recipe.designs if (job := adapt_job(recipe, inputs, parse_design(name).attention))}
    jobs += list(adapts.values())[:1]
    tunes = {name: _tune(recipe, inputs, name, adapts.get(name)) for name in recipe.designs} if recipe.tune else {}
    jobs += tunes.values()
    for seed in recipe.seeds:
        for name in recipe.designs:
            train = _train(recipe, inputs, name, seed, adapts.get(name), tunes.get(name))
            jobs += [train, _eval(recipe, inputs, train)]
    return jobs


def is_bidirectional(attention: Attention) -> bool:
    """Return whether every token sees every other in every layer, which is how an adaptation trains.

    Only such designs start from an adapted base: it was never trained with partial attention.
    """
    return attention == "bidirectional"


def adapt_job(recipe: Recipe, inputs: InputHashes, attention: Attention) -> Job | None:
    """Return the job that adapts the base for designs with this attention; None if they start from the plain base.

    All designs and seeds share one such job.
    """
    if recipe.adapt is None or not is_bidirectional(attention):
        return None
    # Only the keys of ``train`` that an adaptation uses: a change of ``train.steps`` must not repeat it.
    train = recipe.train.model_dump(mode="json", include=set(ADAPT_READS))
    train["method"] = "full" if recipe.train.method == "full" else "lora"
    adapt = recipe.adapt.model_dump(mode="json", exclude={"data"})
    spec = {"version": RESULTS_VERSION, "base": inputs.base, "texts": inputs.adapt_texts}
    key = fingerprint(spec | inputs.held | _special(recipe) | {"adapt": adapt, "train": train})
    return Job("adapt", "base", recipe.adapt.seed, key, f"base-{key[:8]}")


def _common(recipe: Recipe, inputs: InputHashes) -> dict[str, object]:
    spec = {"version": RESULTS_VERSION, "base": inputs.base, "prompts": _dump(recipe)["prompts"]}
    return spec | inputs.held | _special(recipe)


def _special(recipe: Recipe) -> dict[str, object]:
    return {} if recipe.split_special_tokens else {"split_special_tokens": False}


def _dump(recipe: Recipe) -> dict[str, object]:
    return recipe.settings


def _evaluation(recipe: Recipe, tasks: dict[str, str]) -> dict[str, object]:
    return {"eval": _dump(recipe)["eval"], "tasks": tasks, "max_items": recipe.max_items}


def _anchor(recipe: Recipe, inputs: InputHashes, name: str) -> Job:
    key = fingerprint(_common(recipe, inputs) | _evaluation(recipe, inputs.tasks) | {"anchor": name})
    return Job("anchor", name, ANCHOR_SEED, key, f"anchor-{name}-{key[:8]}")


def _entrant(recipe: Recipe, inputs: InputHashes, name: str) -> Job:
    # Neither the base nor the recipe's prompts and length: an entrant has its own, which are part of its fingerprint.
    how = {key: getattr(recipe.eval, key) for key in ENTRANT_READS}
    spec = {"version": RESULTS_VERSION, "entrant": inputs.entrants[name], "eval": how}
    key = fingerprint(spec | {"tasks": inputs.tasks, "max_items": recipe.max_items})
    # No "-" in the slug: an entrant may be the folder of a run, whose name would be read as one of this study's seeds.
    slug = re.sub(r"[^\w.]+", "_", name).strip("_.")
    return Job("entrant", name, ANCHOR_SEED, key, f"entrant-{key[:8]}-{slug}")


def _on(adapt: Job | None) -> dict[str, object]:
    """Return the adapted base's part of a design's key; empty without one, so that older keys stay the same."""
    return {"adapt": adapt.key} if adapt else {}


def _ids(*jobs: Job | None) -> tuple[str, ...]:
    return tuple(job.id for job in jobs if job)


def _tune(recipe: Recipe, inputs: InputHashes, name: str, adapt: Job | None) -> Job:
    seed = recipe.seeds[0]
    # Trials take no looks.
    train = hashed_training(recipe.train.model_copy(update={"early_stopping": None}))
    spec = {"design": name, "train": train, "tune": _dump(recipe)["tune"]}
    spec |= {"schedule": inputs.schedules[seed], "seed": seed}
    key = fingerprint(_common(recipe, inputs) | _evaluation(recipe, inputs.dev) | spec | _on(adapt))
    return Job("tune", name, seed, key, f"{parse_design(name).slug}-tune-{key[:8]}", name, _ids(adapt))


def _train(recipe: Recipe, inputs: InputHashes, name: str, seed: int, adapt: Job | None, tune: Job | None) -> Job:
    spec = {"design": name, "seed": seed, "schedule": inputs.schedules[seed], "train": hashed_training(recipe.train)}
    spec |= {"stopping": inputs.stopping} if inputs.stopping else {}
    key = fingerprint(_common(recipe, inputs) | spec | {"tune": tune.key if tune else None} | _on(adapt))
    run = run_folder_name(parse_design(name).slug, seed, key)
    return Job("train", name, seed, key, run, name, _ids(adapt, tune))


def _eval(recipe: Recipe, inputs: InputHashes, train: Job) -> Job:
    key = fingerprint(_evaluation(recipe, inputs.tasks) | {"train": train.key})
    return Job("eval", train.name, train.seed, key, train.run, train.design, (train.id,))


def run_folders(jobs: Sequence[Job]) -> list[str]:
    """Return the folders below ``runs/`` of the study's runs (without tuning trials)."""
    return [job.run for job in jobs if job.kind in ("eval", "anchor", "entrant")]
