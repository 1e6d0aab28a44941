"""What a model card says, as records: the model itself, its training, its scores in a study, its cost."""

# ruff: noqa: RUF012 (pydantic gives every record its own copy of a default)
from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationError

from poolwise.errors import ConfigError, ModelError
from poolwise.records import SCHEMA_VERSION, Category, Record, first_problem
from poolwise.results import Verdict
from poolwise.storage.yaml_text import load_mapping


class BaseFacts(Record):
    """The base of a model."""

    name: str = Field(description="as the saved model names it")
    hub: str = Field(default="", description="its repository on the hub; empty if it has none")
    origin: str = Field(default="", description="the GGUF file that it was dequantised from, in words")
    fingerprint: str | None = Field(default=None, description="None: the model holds all its weights itself")
    included: bool = Field(default=False, description="whether its files are in the model's folder")
    licence: str = Field(default="", description="empty: not known")
    num_layers: int
    hidden_size: int
    num_parameters: int
    dtype: str = Field(default="fp32", description="in which its weights were held in training")


class ModelFacts(Record):
    """What a model is, read from the model when it was saved."""

    design: str
    method: str
    base: BaseFacts
    width: int
    dimensions: list[int] = Field(default=[], description="shorter embeddings that were trained too")
    max_tokens: int
    eos: str
    eos_id: int
    prompts: dict[str, str] = {}
    default_prompt: str | None = None
    attention_found: str = Field(default="", description="by the probe; empty if it was not taken")
    probe: dict[str, bool] = {}
    attention_kernel: str = ""
    num_trained: int = Field(description="trained parameters, adapter and head together")


class TrainingFacts(Record):
    """How a model was trained."""

    sources: dict[str, int] = Field(description="rows by source")
    licences: dict[str, str] = Field(default={}, description="licence by source, where known")
    seed: int
    settings: dict[str, str | int | float | bool] = {}
    notes: list[str] = []
    seconds: float | None = None
    machine: str = ""


class BaselineScore(Record):
    """A baseline's mean score in a category, and how far the design is above it."""

    name: str
    mean: float
    difference: float | None = None
    interval: tuple[float, float] | None = Field(default=None, description="of the difference")
    verdict: Verdict | None = None


class CategoryScore(Record):
    """Mean scores over the tasks of one category."""

    category: str
    metric: str
    num_tasks: int
    num_items: int
    own: float | None = Field(default=None, description="of this model; None if it lacks a task")
    mean: float = Field(description="of its design, over the study's seeds")
    baselines: list[BaselineScore] = []


class TaskScoreFacts(Record):
    """This model's score on one task."""

    task: str
    category: Category
    metric: str
    num_items: int
    score: float


class StudyFacts(Record):
    """The scores of a model in the study that trained it."""

    name: str
    recipe_hash: str
    num_seeds: int
    seed: int
    interval: str = Field(default="", description="what the intervals are, in words")
    categories: list[CategoryScore]
    tasks: list[TaskScoreFacts]
    warnings: list[str] = []


class CardFacts(Record):
    """Everything that a model card says.

    ``weights`` are the hashes of the weight files that it was written for, ``readme`` that of the text made from it.
    """

    schema_version: int = SCHEMA_VERSION
    name: str = Field(description="what the card loads: the folder's name, or the hub id")
    model: ModelFacts
    training: TrainingFacts | None = None
    study: StudyFacts | None = None
    texts_per_second: float | None = Field(default=None, description="encoded in the study's evaluation")
    machine: str = Field(default="", description="where that was measured")
    weights: dict[str, str] = {}
    versions: dict[str, str] = {}
    readme: str = ""


def load_facts(path: Path) -> CardFacts | None:
    """Return the facts of a saved model's card; None if there is no such file.

    Raises: ModelError where the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        return CardFacts.model_validate(load_mapping(path, "card facts", "the facts of a model card"))
    except ConfigError as error:
        raise ModelError(str(error), hint="delete it, or save the model again") from error
    except ValidationError as error:
        raise ModelError(
            f"{path} does not hold the facts of a model card: {first_problem(error)}",
            "wanted what model.save writes",
            "delete it to push without them, or save the model again",
        ) from error
