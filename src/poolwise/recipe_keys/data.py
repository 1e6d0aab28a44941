"""The keys of a recipe about training data and prompts."""

from __future__ import annotations

from typing import Any

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from poolwise.recipe_keys.section import Section
from poolwise.records import Category


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
