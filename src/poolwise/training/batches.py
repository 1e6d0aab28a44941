"""Conversion of the schedule's batches to model inputs: the same rows in the same order for every design."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from sentence_transformers import SentenceTransformer
from torch.utils.data import DataLoader

from poolwise.config import Prompts
from poolwise.data import Triple
from poolwise.ranks import ALONE, Ranks
from poolwise.records import Category

_ROWS_SHOWN = 8
WHOLE = slice(None)


@runtime_checkable
class Collator(Protocol):
    """Turns row numbers into the inputs of a step."""

    def __len__(self) -> int:
        """Return the number of rows."""

    def __call__(self, rows: Sequence[int], part: slice = WHOLE) -> dict[str, Any]:
        """Return ``{column}_{feature}`` for every feature of the model's preprocessing.

        Args:
            rows: of the whole batch.
            part: the rows that are returned, if several processes share the batch.
        """

    def describe(self, rows: Sequence[int]) -> str:
        """Return a short text that tells a reader which rows these are."""


class TripleCollator:
    """Turns row numbers into the columns anchor, positive, negative_1 ... negative_n, tokenised with their prompts.

    If the rows of a batch have different numbers of negatives, the smallest number is used. The model's own
    preprocessing adds the prompt, so that a pooling can skip its tokens.

    Args:
        model: preprocesses the texts; None where only ``columns`` and ``prompt`` are used.
        prompts: prompts by training source.
    """

    def __init__(
        self, model: SentenceTransformer | None, triples: Sequence[Triple], prompts: Mapping[str, Prompts]
    ) -> None:
        self.model, self.triples, self.prompts = model, triples, prompts

    def __len__(self) -> int:
        """Return the number of triples."""
        return len(self.triples)

    def columns(self, rows: Sequence[int]) -> dict[str, list[str]]:
        """Return the texts of each column, in the order that the loss expects."""
        batch = [self.triples[row] for row in rows]
        columns = {"anchor": [t.query for t in batch], "positive": [t.positive for t in batch]}
        for i in range(min(len(triple.negatives) for triple in batch)):
            columns[f"negative_{i + 1}"] = [triple.negatives[i] for triple in batch]
        return columns

    def prompt(self, column: str, rows: Sequence[int]) -> str:
        """Return the prompt for the texts of a column; all rows of a batch come from one source."""
        prompts = self.prompts.get(self.triples[rows[0]].source, Prompts())
        return prompts.query if column == "anchor" else prompts.document

    def __call__(self, rows: Sequence[int], part: slice = WHOLE) -> dict[str, Any]:
        """Return ``{column}_{feature}`` for every feature of the model's preprocessing.

        The columns are those of the whole batch, also if only a part of its rows is returned.
        """
        inputs: dict[str, Any] = {}
        for column, texts in self.columns(rows).items():
            prompt = self.prompt(column, rows)
            assert self.model is not None
            features = self.model.preprocess(texts[part], prompt=prompt or None)
            inputs |= {f"{column}_{name}": value for name, value in features.items()}
        return inputs

    def describe(self, rows: Sequence[int]) -> str:
        """Return the source of a batch and the row numbers of its first rows in that source."""
        triples = [self.triples[row] for row in rows]
        numbers = ", ".join(str(triple.row) for triple in triples[:_ROWS_SHOWN])
        more = f" and {len(triples) - _ROWS_SHOWN} more" if len(triples) > _ROWS_SHOWN else ""
        return f"batch of {len(triples)} rows of {triples[0].source}: {numbers}{more}"


def source_prompts(prompts: Mapping[Category, Prompts], source_category: Mapping[str, Category]) -> dict[str, Prompts]:
    """Return each source's prompts: those of its category, or empty ones if the category has none."""
    return {source: prompts.get(category, Prompts()) for source, category in source_category.items()}


def build_loader(batches: Sequence[Sequence[int]], collator: Collator, ranks: Ranks = ALONE) -> DataLoader[int]:
    """Return a loader of exactly these batches, or of this rank's part of each."""

    def collate(rows: Sequence[int]) -> dict[str, Any]:
        return collator(rows, ranks.part(len(rows)))

    # Its own generator: a loader draws a seed at its start, which must not advance the generator of dropout.
    return DataLoader(
        range(len(collator)),  # type: ignore[arg-type]
        batch_sampler=batches,  # type: ignore[arg-type]
        collate_fn=collate,
        generator=torch.Generator(),
    )


def count_tokens(inputs: Mapping[str, Any]) -> int:
    """Return the number of real tokens in a batch, over all columns."""
    return sum(int(value.sum()) for name, value in inputs.items() if name.endswith("attention_mask"))


def count_documents(inputs: Mapping[str, Any]) -> int:
    """Return the number of documents in a batch: the texts of all columns but the first.

    The negatives of a query are all documents of the batch except its own positive.
    """
    masks = [value for name, value in inputs.items() if name.endswith("attention_mask")]
    return sum(len(mask) for mask in masks[1:])
