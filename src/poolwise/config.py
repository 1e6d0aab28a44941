"""Recipes: the settings of a study, as pydantic models read from strict YAML."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from poolwise.base_dtypes import BaseDtype, reason_against
from poolwise.design import ALL_DESIGNS, parse_design
from poolwise.errors import ConfigError, collect, nearest
from poolwise.overrides import apply_override
from poolwise.recipe_paths import RecipePaths
from poolwise.records import CATEGORIES, Category
from poolwise.storage.fingerprints import fingerprint
from poolwise.storage.yaml_text import load_mapping

logger = logging.getLogger(__name__)
Tracker = Literal["tensorboard", "trackio", "wandb", "mlflow"]
Comparison = Literal["reference", "pooling_given_attention", "attention_given_pooling"]

MACHINE_KEYS = ("processes", "report_to")
"""The keys of ``train`` that fit a training to a machine. Runs that differ only in them are the same runs: no key of a
job and no hash depends on them."""


class Section(BaseModel):
    """A part of a recipe. Unknown keys and numbers that are not finite are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


S = TypeVar("S", bound=Section)


class Prompts(Section):
    """Texts put before a query and before a document, unchanged (include the separator)."""

    query: str = ""
    document: str = ""


class ColumnNames(Section):
    """The field names of a source whose training rows use other names than the known ones.

    ``negative`` is a list of fields, in order. An empty list reads no negatives; None reads the usual fields
    (``negative``, ``negative_1`` ...).
    """

    query: str = Field(default="query", min_length=1)
    positive: str = Field(default="positive", min_length=1)
    negative: list[str] | None = None

    @field_validator("negative", mode="before")
    @classmethod
    def _from_name(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value


class SourceConfig(Section):
    """One training source, the category whose prompts it is trained with, and its field names.

    ``hub`` names a data set that the library ``datasets`` reads, on the hub or in a folder, instead of ``source``; the
    other keys from ``config`` on belong to it. ``source`` is then its name in records.
    """

    source: str = Field(min_length=1)
    category: Category = "retrieval"
    columns: ColumnNames | None = None
    hub: str | None = Field(default=None, min_length=1)
    config: str | None = Field(default=None, min_length=1)
    split: str | None = Field(default=None, min_length=1)
    streaming: bool = False
    max_rows: int | None = Field(default=None, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _named(cls, tree: object) -> object:
        """Name a source after its data set, config and split, which tell two sources of one data set apart."""
        if not isinstance(tree, dict) or "hub" not in tree:
            return tree
        parts = (tree["hub"], tree.get("config") or "", tree.get("split") or "")
        name = ":".join(str(part) for part in parts).rstrip(":")
        if tree.get("source", name) != name:
            raise ValueError(f"source is {tree['source']!r} and hub is {tree['hub']!r}: give one of them")
        return {**tree, "source": name}

    @model_validator(mode="after")
    def _needs_hub(self) -> SourceConfig:
        given = {"config": self.config, "split": self.split, "streaming": self.streaming, "max_rows": self.max_rows}
        if self.hub is None and (named := [key for key, value in given.items() if value]):
            raise ValueError(
                f"{', '.join(named)}: only for data sets read with hub: NAME, but source is {self.source!r}"
            )
        return self

    @model_serializer(mode="wrap")
    def _without_later_defaults(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Without later keys, a recipe keeps the hash it had before they existed.
        return {key: value for key, value in dump(self).items() if key in ("source", "category") or value}


class DataConfig(Section):
    """Training pairs: files (jsonl, csv, tsv, each plain or gzipped, parquet), ``poolwise/pydoc``, or hub data sets."""

    train: list[SourceConfig] = Field(
        min_length=1,
        description="names, or `{source: NAME, category: CATEGORY, columns: {query: A, positive: B, negative: C}}`, "
        "or `{hub: NAME, config: C, split: S, streaming: true, max_rows: N}` for a data set of the hub",
    )
    max_rows: int | None = Field(
        default=None, ge=1, description="most rows used from all sources together, a seeded sample"
    )

    @field_validator("train", mode="before")
    @classmethod
    def _from_names(cls, value: object) -> object:
        if isinstance(value, str):
            value = [value]
        if isinstance(value, list):
            return [{"source": item} if isinstance(item, str) else item for item in value]
        return value


class EarlyStopping(Section):
    """Looks at dev tasks during training; the weights of the best look are kept. Off if the section is absent.

    Every design may take the same looks, at the same steps and by the same rule. The trials of ``tune`` and a screen
    take none.
    """

    dev: list[str] = Field(
        min_length=1,
        description="tasks whose mean score decides; the study must not evaluate on them (`FOLDER@dev` is a dev split)",
    )
    every: int = Field(ge=1, description="steps between two looks; there is always one after the last step")
    patience: int | None = Field(
        default=None,
        ge=1,
        description="looks in a row without a better score that end a training; null ends none early, so that all "
        "designs take equally many looks",
    )

    @field_validator("dev", mode="before")
    @classmethod
    def _from_name(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value


class TrainConfig(Section):
    """How every design is trained. Learning rates are peak values; the schedule is linear warm-up and linear decay."""

    steps: int = Field(default=200, ge=0, description="optimiser steps; 0 evaluates the untrained design")
    batch_size: int = Field(default=32, ge=2, description="queries per step")
    mini_batch_size: int = Field(
        default=64, ge=1, description="queries per forward pass; uses GradCache if below batch_size"
    )
    learning_rate: float = Field(default=3e-4, gt=0, description="peak learning rate of LoRA or of the base")
    head_learning_rate: float = Field(default=1e-3, gt=0, description="peak learning rate of the pooling")
    max_tokens: int = Field(default=128, ge=4, description="longest text, EOS included; longer texts are truncated")
    temperature: float = Field(default=0.05, gt=0, description="InfoNCE divides cosine similarities by it")
    method: Literal["lora", "frozen", "full"] = Field(default="lora", description="how the base is trained")
    lora_rank: int = Field(default=16, ge=1, description="rank of LoRA, on all linear layers")
    lora_alpha: int = Field(default=32, ge=1, description="the update is scaled by alpha / rank")
    lora_dropout: float = Field(default=0.1, ge=0, lt=1, description="dropout on the input of LoRA")
    warmup_ratio: float = Field(default=0.1, ge=0, le=1, description="share of the steps that warm up")
    weight_decay: float = Field(default=0.01, ge=0, description="AdamW's")
    max_grad_norm: float = Field(default=1.0, gt=0, description="gradients are clipped to this norm")
    gradient_checkpointing: bool = Field(default=False, description="less memory, one more forward pass")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="of matrix products; trained weights stay fp32; auto is bf16 where bf16 is fast"
    )
    save_steps: int = Field(
        default=500, ge=1, description="steps between checkpoints, from which an interrupted run resumes"
    )
    processes: int = Field(
        default=1,
        ge=1,
        exclude_if=lambda count: count == 1,  # a recipe keeps the hash it had before this key existed
        description="processes that share each batch, one per GPU ([how](../how-to/several-gpus.md)); batch_size stays "
        "that of all together",
    )

    matryoshka: list[int] = Field(
        default=[],
        exclude_if=lambda dimensions: not dimensions,  # as for processes
        description="also train the first N dimensions of every embedding, for each of these N; the full width is "
        "always trained too",
    )
    early_stopping: EarlyStopping | None = Field(default=None, exclude_if=lambda section: section is None)
    report_to: list[Tracker] = Field(
        default=[],
        exclude_if=lambda trackers: not trackers,
        description="trackers that get loss, gradient norm and learning rate of each step; changes no result",
    )

    @field_validator("matryoshka")
    @classmethod
    def _usable_dimensions(cls, dimensions: list[int]) -> list[int]:
        if dimensions and min(dimensions) < 1:
            raise ValueError(f"dimensions must be 1 or more: {dimensions}")
        if len(set(dimensions)) < len(dimensions):
            raise ValueError(f"dimensions repeat: {dimensions}")
        return sorted(dimensions)

    @model_validator(mode="after")
    def _has_a_row_for_each_process(self) -> TrainConfig:
        if self.processes > self.batch_size:
            raise ValueError(
                f"processes is {self.processes}, but a batch has {self.batch_size} rows (batch_size): wanted at least "
                "one row for each process"
            )
        return self

    @model_validator(mode="after")
    def _looks_in_one_process(self) -> TrainConfig:
        if self.processes > 1 and self.early_stopping is not None:
            raise ValueError(f"early_stopping with processes {self.processes} is not supported: leave one of them out")
        return self


def hashed_training(config: TrainConfig) -> dict[str, Any]:
    """Return the settings of a training that keys hash, as JSON values.

    What only fits it to a machine is left out, and so are the names of dev tasks: their content is hashed apart.
    """
    found = config.model_dump(mode="json", exclude=set(MACHINE_KEYS))
    if stopping := found.get("early_stopping"):
        found["early_stopping"] = {key: value for key, value in stopping.items() if key != "dev"}
    return found


def too_wide(config: TrainConfig, width: int) -> str:
    """Return what is wrong with ``train.matryoshka`` for embeddings of this width; empty if nothing is."""
    if not (above := [dimension for dimension in config.matryoshka if dimension > width]):
        return ""
    named = ", ".join(map(str, above))
    return f"train.matryoshka has {named}; wanted at most {width}, the width of the embeddings; leave it out"


class Adapt(Section):
    """Masked next-token training of the base, before bidirectional designs start from it. Off if the section is absent.

    Method, precision, weight decay, warm-up, clipping and checkpoints are those of ``train``.
    """

    steps: int = Field(default=200, ge=1, description="optimiser steps; without `adapt:` the base is not adapted")
    batch_size: int = Field(default=32, ge=1, description="texts per step")
    learning_rate: float = Field(default=3e-4, gt=0, description="peak learning rate of LoRA or of the base")
    mask_share: float = Field(
        default=0.2, gt=0, lt=1, description="share of a text's tokens that is masked, at least one token"
    )
    mask_token: str | None = Field(
        default=None, description="replaces a masked token; null is the tokenizer's mask token, or else `_`"
    )
    max_tokens: int = Field(default=128, ge=4, description="longest text, EOS included; longer texts are truncated")
    data: list[str] | None = Field(
        default=None, min_length=1, description="sources of texts; null is all training texts"
    )
    lora_rank: int = Field(
        default=16, ge=1, description="rank of LoRA, on all linear layers; merged into the base at the end"
    )
    lora_alpha: int = Field(default=32, ge=1, description="the update is scaled by alpha / rank")
    seed: int = Field(
        default=0, description="of texts, masks and LoRA; all seeds of the study use the same adapted base"
    )

    @field_validator("data", mode="before")
    @classmethod
    def _from_name(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value


class TuneConfig(Section):
    """The same learning-rate search for every design: ``steps`` steps at each rate; the best dev score wins."""

    learning_rate: list[float] = Field(
        min_length=2, description="rates to try; the head's rate is scaled in proportion"
    )
    steps: int = Field(ge=1, description="optimiser steps of each trial")
    dev: list[str] = Field(min_length=1, description="tasks to choose by; the study must not evaluate on them")

    @field_validator("learning_rate")
    @classmethod
    def _usable_rates(cls, rates: list[float]) -> list[float]:
        if min(rates) <= 0:
            raise ValueError(f"learning rates must be above 0: {rates}")
        if len({f"{rate:g}" for rate in rates}) < len(rates):  # trials are named by six digits
            raise ValueError(f"learning rates repeat (compared to six digits): {rates}")
        return rates


@dataclass(frozen=True)
class Gpu:
    """A GPU's peak in dense bf16 products, in TFLOP/s, and its memory, from its maker's data sheet."""

    name: str
    tflops: float
    memory_gib: int


GPUS: Mapping[str, Gpu] = {
    "h200": Gpu("H200", 989, 131),
    "h100": Gpu("H100 SXM", 989, 75),
    "a100": Gpu("A100 80 GB", 312, 75),
    "l40s": Gpu("L40S", 362, 45),
    "rtx4090": Gpu("RTX 4090", 165, 22),
}


class PriceConfig(Section):
    """With it, ``poolwise study --dry-run`` computes hours, memory and disk from sizes, without base, data or network.

    It changes nothing else.
    """

    base_config: str | None = Field(
        default=None, description="a config.json with the architecture of the base; null reads that of `base`"
    )
    gpu: Literal["h200", "h100", "a100", "l40s", "rtx4090"] = Field(default="h100", description="the GPU, one of it")
    utilisation: float = Field(
        default=0.35, gt=0, le=1, description="share of the GPU's peak in bf16 that training and encoding reach"
    )
    train_tokens: int | None = Field(
        default=None,
        ge=1,
        description="mean tokens of a training text; null is train.max_tokens, the most there can be",
    )
    texts_per_row: int = Field(default=3, ge=2, description="texts of a training row: query, positive, negatives")
    chars_per_token: float = Field(default=4.0, gt=0, description="to convert the lengths of the tasks' texts")


class EvalConfig(Section):
    """How models encode for evaluation."""

    max_tokens: int | None = Field(
        default=None,
        ge=4,
        description="longest text, EOS included; null is train.max_tokens; saved with the model",
    )
    batch_size: int = Field(default=64, ge=1, description="texts per forward pass")
    precision: Literal["auto", "fp32", "bf16"] = Field(default="auto", description="as in training")


def _canonical_name(name: str) -> str:
    try:
        return str(parse_design(name))
    except ConfigError as error:  # pydantic collects only ValueErrors; all problems should be shown at once
        raise ValueError(str(error)) from error


class Recipe(Section):
    """A study: one base, one data set, one set of tasks; only the design differs.

    Law: ``Recipe.model_validate(recipe.model_dump()) == recipe``, with an equal fingerprint.

    Example:

        >>> import poolwise
        >>> recipe = poolwise.Recipe(
        ...     name="mine",
        ...     base="poolwise/nano",
        ...     designs=["last+causal", "mean+bidirectional"],
        ...     reference="last+causal",
        ...     data={"train": ["pairs.jsonl"]},
        ...     tasks=["my-suite"],
        ... )
        >>> recipe.train.batch_size
        32
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][\w.-]*$", description="the default output folder is runs/NAME")
    base: str = Field(min_length=1, description="`poolwise/nano`, `poolwise/smollm2`, a folder, GGUF file or hub id")
    base_dtype: BaseDtype = Field(
        default="auto",
        description="of a frozen base's weights; auto is bf16 where products of training and evaluation are bf16, else "
        "fp32; nf4 is 4 bits, on a GPU with bitsandbytes; what is trained stays fp32",
    )
    designs: list[str] = Field(
        min_length=1, description="see [designs](designs.md); `all` is every pooling with both attentions"
    )
    reference: str = Field(description="the design that the others are compared with; tables show its scores")
    comparisons: list[Comparison] = Field(
        default=["reference", "pooling_given_attention", "attention_given_pooling"],
        description="contrasts to test, declared before the run",
    )
    family: Literal["all", "category"] = Field(
        default="all",
        description="which tests are corrected together: the contrasts in all categories, or those of each category",
    )
    seeds: list[int] = Field(default=[0, 1], min_length=1, description="of batches, LoRA, dropout and head")
    until_decided: bool = Field(
        default=False,
        description="test after each seed from the second on, and stop once every contrast is decided; `seeds` are the "
        "most that it may take, and 0.05 is spent over the looks",
    )
    data: DataConfig
    train: TrainConfig = TrainConfig()
    tune: TuneConfig | None = None
    adapt: Adapt | None = None
    eval: EvalConfig = EvalConfig()
    price: PriceConfig | None = None
    prompts: dict[Category, Prompts] = Field(
        default={}, description="by category: `{query: TEXT, document: TEXT}`, the same in training and evaluation"
    )
    tasks: list[str] = Field(
        min_length=1, description="folders (a task, a category, a suite root), `poolwise/pydoc`, or `mteb:NAME`"
    )
    max_items: int | None = Field(
        default=None, ge=2, description="most items per task; larger tasks are sampled with a fixed seed"
    )
    anchors: list[Literal["untuned", "bm25", "random"]] = Field(
        default=["untuned", "bm25", "random"], description="baselines: rows for which nothing is trained; not tested"
    )
    entrants: list[str] = Field(
        default=[],
        exclude_if=lambda models: not models,  # a recipe keeps the hash it had before this key existed
        description="other models to compare with, as folders or hub ids: evaluated as they are and not trained; every "
        "design is tested against each ([how](../how-to/your-own-data.md#the-model-you-use-today))",
    )

    @field_validator("designs", mode="before")
    @classmethod
    def _expanded(cls, value: object) -> object:
        value = [value] if value == "all" else value
        if not isinstance(value, list):
            return value
        return [name for item in value for name in (ALL_DESIGNS if item == "all" else [item])]

    @field_validator("designs")
    @classmethod
    def _canonical(cls, names: list[str]) -> list[str]:
        designs = [_canonical_name(name) for name in names]
        if repeated := {name for name in designs if designs.count(name) > 1}:
            raise ValueError(f"design {sorted(repeated)[0]!r} is listed twice (aliases count)")
        return designs

    @field_validator("reference")
    @classmethod
    def _canonical_reference(cls, name: str) -> str:
        return _canonical_name(name)

    @field_validator("entrants")
    @classmethod
    def _listed_once(cls, models: list[str]) -> list[str]:
        if repeated := {name for name in models if models.count(name) > 1}:
            raise ValueError(f"entrant {sorted(repeated)[0]!r} is listed twice")
        return models

    @field_validator("seeds")
    @classmethod
    def _usable_seeds(cls, seeds: list[int]) -> list[int]:
        if min(seeds) < 0:
            raise ValueError(f"seeds are negative: {seeds}")
        if len(set(seeds)) != len(seeds):
            raise ValueError(f"seeds repeat: {seeds}")
        return seeds

    @model_validator(mode="after")
    def _has_seeds_to_add(self) -> Recipe:
        if self.until_decided and len(self.seeds) < 3:
            raise ValueError(
                f"until_decided adds seeds after the second, but seeds has {len(self.seeds)}: list the most that the "
                "study may take, such as seeds: [0, 1, 2, 3, 4, 5]"
            )
        return self

    @model_validator(mode="after")
    def _reference_is_a_design(self) -> Recipe:
        if self.reference not in self.designs:
            raise ValueError(
                f"reference {self.reference!r} is not among the designs; {nearest(self.reference, self.designs)}"
            )
        return self

    @model_validator(mode="after")
    def _base_dtype_is_possible(self) -> Recipe:
        adapts, precisions = self.adapt is not None, self.precisions
        if reason := reason_against(self.base_dtype, method=self.train.method, precisions=precisions, adapts=adapts):
            raise ValueError(reason)
        return self

    @property
    def precisions(self) -> dict[str, Literal["auto", "fp32", "bf16"]]:
        """The precision of the products that read the base, by recipe key."""
        return {"train.precision": self.train.precision, "eval.precision": self.eval.precision}

    @property
    def max_tokens(self) -> int:
        """The maximum length of a text after training, in tokens: that of ``eval``, or else that of ``train``."""
        return self.eval.max_tokens or self.train.max_tokens

    @property
    def fingerprint(self) -> str:
        """A hash of the resolved recipe without its name."""
        # With a later key's default, a recipe keeps the hash it had before the key existed.
        later = {
            "adapt": self.adapt is None,
            "family": self.family == "all",
            "until_decided": not self.until_decided,
            "base_dtype": self.base_dtype == "auto",
        }
        left_out = {"name", *(key for key, is_default in later.items() if is_default)}
        return fingerprint({key: value for key, value in self.settings.items() if key not in left_out})

    @property
    def settings(self) -> dict[str, Any]:
        """The resolved recipe as JSON, without what only fits it to a machine (``MACHINE_KEYS``, ``price``)."""
        tree = self.model_dump(mode="json", exclude={"price"})
        return tree | {"train": {key: value for key, value in tree["train"].items() if key not in MACHINE_KEYS}}


def load_recipe(path: Path | str, overrides: Sequence[str] = ()) -> Recipe:
    """Return the recipe in a YAML file with ``key.key=value`` overrides applied.

    Paths in the file (``base``, ``data.train``, ``adapt.data``, ``tasks``, ``tune.dev``) are relative to the file;
    paths in overrides are relative to the working directory. In the returned recipe all are relative to the working
    directory. A path that exists only in the working directory is accepted with a warning.

    Args:
        path: of the YAML file.
        overrides: ``key.key=value`` texts, as ``--set`` takes them.
    Raises: ConfigError that lists every bad key or value, with the nearest known key.

    Example:

        >>> import poolwise
        >>> recipe = poolwise.load_recipe("recipes/quickstart.yaml", ["train.steps=10"])
        >>> recipe.train.steps
        10
    """
    path = Path(path)
    tree = load_mapping(path, "recipe", "name, base, designs ...")
    paths = RecipePaths(path)
    paths.resolve(tree)
    if paths.from_here:
        now, wanted = (", ".join(names) for names in (paths.from_here, map(paths.spelled, paths.from_here)))
        logger.warning(
            "recipe %s: found only in the working directory, where later versions will not look: %s. "
            "Paths in a recipe are relative to its file: write %s",
            *(path, now, wanted),
        )
    for override in overrides:
        apply_override(tree, override, Recipe)
    return build_recipe(tree, str(path))


def build_recipe(tree: Mapping[str, Any], origin: str = "recipe") -> Recipe:
    """Return the recipe that a mapping describes; all problems are reported in one ConfigError."""
    return build_section(Recipe, tree, origin)


def build_section(kind: type[S], tree: Mapping[str, Any], origin: str) -> S:
    """Return ``kind`` built from a mapping; all problems are reported in one ConfigError."""
    try:
        return kind.model_validate(dict(tree))
    except ValidationError as error:
        problems = [_explain(kind, problem) for problem in error.errors()]
    collect(problems, ConfigError, origin)
    raise AssertionError("unreachable: a ValidationError has problems")


def _explain(kind: type[Section], problem: Any) -> str:
    place = ".".join(str(part) for part in problem["loc"]) or "recipe"
    if problem["type"] == "extra_forbidden":
        return f"unknown key {place!r}; {nearest(str(problem['loc'][-1]), _keys_at(kind, problem['loc'][:-1]))}"
    if problem["type"] == "missing":
        return f"{place}: missing"
    message = str(problem["msg"]).removeprefix("Value error, ")
    if not problem["loc"]:
        return message  # about several keys: the whole section would be shown
    shown = repr(problem["input"])
    return f"{place}: {message} (got {shown if len(shown) <= 60 else shown[:57] + '...'})"


def _keys_at(kind: type[BaseModel], place: Sequence[int | str]) -> list[str]:
    if kind is Recipe and place == ("prompts",):
        return list(CATEGORIES)
    for part in place:
        annotation = kind.model_fields[str(part)].annotation if str(part) in kind.model_fields else None
        if annotation is not None:
            kind = next((c for c in _models_in(annotation)), kind)
    return list(kind.model_fields)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models_in(part)]
