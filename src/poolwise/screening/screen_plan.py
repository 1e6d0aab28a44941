"""The plan of a screen: which states are stored of which texts, and the jobs that train and evaluate heads on them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from poolwise.attentions import Attention
from poolwise.config import Recipe, hashed_training
from poolwise.design import Design, parse_design
from poolwise.errors import ConfigError
from poolwise.jobs import Job
from poolwise.models import base_shape
from poolwise.records import run_folder_name
from poolwise.results import RESULTS_VERSION
from poolwise.screening import Need, StateStore, StoreSpec, needs_of
from poolwise.screening.arrays import Kept
from poolwise.screening.store import Key
from poolwise.storage.fingerprints import fingerprint
from poolwise.study.jobs import UNTUNED_DESIGN, sample_texts
from poolwise.study.plan import ANCHOR_SEED, adapt_job
from poolwise.study.worker_inputs import Inputs
from poolwise.training.batches import TripleCollator, source_prompts

Role = Literal["training", "evaluation"]
ROLES: tuple[Role, ...] = ("training", "evaluation")
KEPT: Kept = "float16"


def screen_recipe(recipe: Recipe) -> Recipe:
    """Return the recipe that a screen runs: the base frozen, one learning rate, every design against the reference.

    20 designs have 109 declared pairs. To choose candidates, the 19 pairs with the reference are enough, and each has
    more power.

    Raises: ConfigError where the recipe trains the whole base: a frozen base says little about that; or where a design
        lets the base read more than the text: the states of a pass are the same for all its designs.
    """
    if unfit := [name for name in recipe.designs if parse_design(name).reads_more]:
        raise ConfigError(
            f"a screen cannot try {', '.join(unfit)}: it stores the states of texts alone; echo reads a text "
            "twice, soft_tokens reads trained tokens after it, and landmark reads EOS inside it",
            "wanted designs without these",
            "screen --by training (study --screen-by training), which tries them, or leave these designs out",
        )
    if recipe.train.method == "full":
        raise ConfigError(
            "train.method is full, but a screen keeps the base frozen",
            "wanted lora or frozen",
            "run `poolwise study`, or screen with --set train.method=lora",
        )
    train = recipe.train.model_copy(update={"method": "frozen", "early_stopping": None})
    others = {"tune": None, "comparisons": ["reference"], "until_decided": False}
    return recipe.model_copy(update={"train": train, **others})


def attentions(recipe: Recipe) -> list[Attention]:
    """Return the attentions that the base runs with."""
    return list(dict.fromkeys(design.attention for design in _read_designs(recipe, "evaluation")))


def _read_designs(recipe: Recipe, role: Role) -> list[Design]:
    designs = [parse_design(name) for name in recipe.designs]
    untuned = [parse_design(UNTUNED_DESIGN)] if "untuned" in recipe.anchors and role == "evaluation" else []
    return [*designs, *untuned]


def screen_needs(recipe: Recipe, base: str, role: Role, attention: Attention) -> list[Need]:
    """Return the kinds of states that one pass stores."""
    num_layers, dim = base_shape(base)
    return needs_of(_read_designs(recipe, role), attention, dim, num_layers)


def screen_keys(recipe: Recipe, inputs: Inputs, role: Role) -> tuple[Key, ...]:
    """Return every (prompt, text) that heads are trained on, or evaluated on."""
    if role == "evaluation":
        return tuple(sorted({key for task in inputs.tasks for key in task.texts()}))
    prompts = source_prompts(inputs.prompts, inputs.source_category)
    collator = TripleCollator(None, inputs.triples, prompts)  # used here only to arrange texts
    keys = {("", text) for text in sample_texts(inputs)}
    for schedule in inputs.schedules.values():
        for rows in schedule.batches[: recipe.train.steps]:
            for column, texts in collator.columns(rows).items():
                keys |= {(collator.prompt(column, rows), text) for text in texts}
    return tuple(sorted(keys))


def screen_spec(recipe: Recipe, inputs: Inputs, role: Role, attention: Attention) -> StoreSpec:
    """Return which states one pass computes, and how."""
    settings = recipe.train if role == "training" else recipe.eval
    adapt = adapt_job(recipe, inputs.hashes, attention)
    return StoreSpec(
        base=inputs.base,
        # The adapted base does not exist yet when the plan is made; its key identifies its weights.
        base_hash=adapt.key if adapt else inputs.hashes.base,
        attention=attention,
        max_tokens=recipe.train.max_tokens if role == "training" else recipe.max_tokens,
        precision=settings.precision,
        kept=KEPT,
        keys=screen_keys(recipe, inputs, role),
        base_dtype=inputs.hashes.base_dtype,
        split_special_tokens=recipe.split_special_tokens,
    )


def pass_name(role: Role, attention: Attention) -> str:
    """Return the name of a pass's job."""
    return f"{attention}/{role}"


def plan_screen(recipe: Recipe, inputs: Inputs) -> list[Job]:
    """Return the jobs of a screen, each after the jobs it needs; a job whose key is done never runs again."""
    reading = _passes(recipe, inputs)
    passes = {job.name: job for job in reading if job.kind == "pass"}
    tasks: dict[str, object] = {"tasks": inputs.hashes.tasks, "max_items": recipe.max_items}
    tasks |= {"prompts": recipe.model_dump(mode="json")["prompts"], "version": RESULTS_VERSION}
    jobs = [*reading, *(_anchor(recipe, name, passes, tasks) for name in recipe.anchors)]
    for seed in recipe.seeds:
        for name in recipe.designs:
            design = parse_design(name)
            reads = {role: passes[pass_name(role, design.attention)] for role in ROLES}
            train = _train(recipe, inputs, name, seed, reads["training"])
            key = fingerprint(tasks | {"train": train.key, "pass": reads["evaluation"].key})
            needs = [train.id, reads["evaluation"].id]
            if not design.is_trainable and seed != recipe.seeds[0]:
                needs.append(next(job.id for job in jobs if job.kind == "eval" and job.name == name))
            jobs += [train, Job("eval", name, seed, key, train.run, name, tuple(needs))]
    return jobs


def _passes(recipe: Recipe, inputs: Inputs) -> list[Job]:
    jobs: list[Job] = []
    trained = {parse_design(name).attention for name in recipe.designs}
    for attention in attentions(recipe):
        for role in ROLES:
            if role == "training" and attention not in trained:
                continue
            needs = [need.name for need in screen_needs(recipe, inputs.base, role, attention)]
            spec = screen_spec(recipe, inputs, role, attention)
            key = fingerprint([RESULTS_VERSION, spec.key, needs])
            run = StateStore(spec, states_folder(Path())).folder.relative_to("states").as_posix()
            adapt = adapt_job(recipe, inputs.hashes, attention)
            if adapt and adapt not in jobs:
                jobs.append(adapt)
            jobs.append(
                Job("pass", pass_name(role, attention), ANCHOR_SEED, key, run, needs=(adapt.id,) if adapt else ())
            )
    return jobs


def _anchor(recipe: Recipe, name: str, passes: dict[str, Job], tasks: dict[str, object]) -> Job:
    untuned = pass_name("evaluation", parse_design(UNTUNED_DESIGN).attention)
    reads = passes[untuned] if name == "untuned" else None
    key = fingerprint(tasks | {"anchor": name, "pass": reads.key if reads else None})
    return Job("anchor", name, ANCHOR_SEED, key, f"anchor-{name}-{key[:8]}", None, (reads.id,) if reads else ())


def _train(recipe: Recipe, inputs: Inputs, name: str, seed: int, reads: Job) -> Job:
    spec = {"design": name, "seed": seed, "schedule": inputs.hashes.schedules[seed], "pass": reads.key}
    key = fingerprint(spec | {"train": hashed_training(recipe.train)})
    return Job("train", name, seed, key, run_folder_name(parse_design(name).slug, seed, key), name, (reads.id,))


def states_folder(out: Path) -> Path:
    """Return the folder of a screen's states; versions are separate, because older states have other numbers."""
    return out / "states" / f"v{RESULTS_VERSION}"
