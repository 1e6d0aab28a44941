"""Recipes: the settings of a study, as pydantic models read from strict YAML."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from poolwise.base_dtypes import BaseDtype, Precision, reason_against
from poolwise.design import ALL_DESIGNS, parse_design
from poolwise.errors import ConfigError, collect, nearest
from poolwise.overrides import apply_override
from poolwise.recipe_keys.data import ColumnNames, DataConfig, Prompts, SourceConfig
from poolwise.recipe_keys.price import GPUS, Gpu, PriceConfig
from poolwise.recipe_keys.section import Section
from poolwise.recipe_keys.training import (
    MACHINE_KEYS,
    Adapt,
    EarlyStopping,
    Tracker,
    TrainConfig,
    TuneConfig,
    hashed_training,
    too_wide,
)
from poolwise.recipe_paths import RecipePaths
from poolwise.records import CATEGORIES, Category
from poolwise.storage.fingerprints import fingerprint
from poolwise.storage.yaml_text import load_mapping

__all__ = [
    "GPUS",
    "MACHINE_KEYS",
    "Adapt",
    "ColumnNames",
    "Comparison",
    "DataConfig",
    "EarlyStopping",
    "EvalConfig",
    "Gpu",
    "PriceConfig",
    "Prompts",
    "Recipe",
    "Section",
    "SourceConfig",
    "Tracker",
    "TrainConfig",
    "TuneConfig",
    "build_recipe",
    "build_section",
    "hashed_training",
    "load_recipe",
    "too_wide",
]

logger = logging.getLogger(__name__)
Comparison = Literal["reference", "pooling_given_attention", "attention_given_pooling"]

S = TypeVar("S", bound=Section)


class EvalConfig(Section):
    """How models encode for evaluation."""

    max_tokens: int | None = Field(
        default=None,
        ge=4,
        description="longest text, EOS included; null is train.max_tokens; saved with the model",
    )
    batch_size: int = Field(default=64, ge=1, description="texts per forward pass")
    precision: Precision = Field(default="auto", description="as in training")


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
    split_special_tokens: bool = Field(
        default=True,
        description="a special token spelled in a text, such as `<|eos|>`, is read as its characters; false: it acts "
        "as the special token, as in stock sentence-transformers",
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

    @model_validator(mode="after")
    def _weights_can_be_shared_out(self) -> Recipe:
        if self.train.shard and self.base_dtype == "nf4":
            raise ValueError(
                "train.shard and base_dtype nf4: 4-bit weights cannot be shared out over processes; wanted base_dtype "
                "bf16 with train.shard, or nf4 without it"
            )
        if self.train.shard and self.adapt is not None:
            raise ValueError(
                "train.shard and adapt: the LM head of an adaptation may be the embeddings, and such weights cannot be "
                "shared out; adapt in a recipe without train.shard, and give the adapted folder as base"
            )
        return self

    @property
    def precisions(self) -> dict[str, Precision]:
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
            "split_special_tokens": self.split_special_tokens,
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
    collect([*_unusable(tree)], ConfigError, origin)
    try:
        return kind.model_validate(dict(tree))
    except ValidationError as error:
        problems = [_explain(kind, problem) for problem in error.errors()]
    collect(problems, ConfigError, origin)
    raise AssertionError("unreachable: a ValidationError has problems")


LARGEST_NUMBER = 2**53
"""Larger whole numbers are not exact in JSON, and no setting needs them."""


def _unusable(value: object, place: str = "") -> Iterator[str]:
    """Yield a line for each number that is too large for any setting, and each text that UTF-8 cannot hold."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _unusable(part, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list | tuple):
        for number, part in enumerate(value):
            yield from _unusable(part, f"{place}.{number}")
    elif isinstance(value, int) and not -LARGEST_NUMBER <= value <= LARGEST_NUMBER:
        yield f"{place}: a whole number of {value.bit_length()} bits is too large; wanted at most {LARGEST_NUMBER:,}"
    elif isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
        yield f"{place}: {value!a:.60} has half a surrogate pair, or bytes that are not UTF-8; wanted text"


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
