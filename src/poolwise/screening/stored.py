"""Models on stored states: the first module looks states up instead of computing them; poolings train as usual."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import InputModule, Normalize

from poolwise.base_dtypes import Precision
from poolwise.design import Design
from poolwise.encoding import Embeddings
from poolwise.errors import EvalError
from poolwise.models import Pooling
from poolwise.models.pooling import POOLING_CLASSES, build_pooling
from poolwise.models.seeds import seeded
from poolwise.screening.needs import need_of
from poolwise.screening.store import StateStore, token_mask
from poolwise.storage.whole_files import whole_folder

MOST_TEXTS = 32
"""Texts pooled at once. With the embedded base, one thread, ``multilayer`` and 4,418 texts, 8 at once take 2.3 s, 32
1.5 s, 128 1.8 s, 256 4.3 s: larger activations do not fit the cache."""
STATES_A_BATCH = 2**23
"""Values of states that are read at once: 32 MiB in fp32."""


class StoredStates(InputModule):
    """Replaces the backbone: looks up the stored states of (prompt, text) as features for the pooling.

    ``input_ids`` are row numbers of the store, one per text; the attention mask marks the real tokens.
    """

    def __init__(self, store: StateStore, design: Design, precision: Precision) -> None:
        super().__init__()
        self.store, self.design, self.precision = store, str(design), precision
        self.num_layers, self.dim = store.shape
        self.reader = store.reader(need_of(design, self.dim, self.num_layers))

    def get_embedding_dimension(self) -> int:
        """Return D, the width of the states."""
        return self.dim

    def preprocess(self, inputs: Sequence[Any], prompt: str | None = None, **_kwargs: Any) -> dict[str, torch.Tensor]:
        """Return row numbers and the mask of real tokens. Raises: EvalError for a text that is not in the store."""
        return self.rows_features(self.store.rows([(prompt or "", text) for text in inputs]))

    def rows_features(self, rows: np.ndarray) -> dict[str, torch.Tensor]:
        """Return row numbers and the mask of real tokens, given row numbers."""
        mask = torch.from_numpy(token_mask(self.store.lengths.num_tokens[rows]).astype(np.int64))
        return {"input_ids": torch.from_numpy(rows)[:, None], "attention_mask": mask}

    def forward(self, features: dict[str, Any], **_kwargs: Any) -> dict[str, Any]:
        """Return the features with the stored states added."""
        device = features["input_ids"].device
        found = self.reader.features(features["input_ids"][:, 0].cpu().numpy())
        return {**features, **{name: value.to(device) for name, value in found.items()}}

    def save(self, output_path: str, *_args: Any, **_kwargs: Any) -> None:
        """Write nothing: the states belong to the screen."""


def build_stored_model(
    design: Design, store: StateStore, *, seed: int = 0, precision: Precision = "auto", pooling: Pooling | None = None
) -> SentenceTransformer:
    """Return a design's model on the stored states of its base: the frozen model without its backbone.

    Args:
        seed: seed of the initial head, which is the same as that of ``build_model``.
        pooling: a trained head to use instead of a new one.
    """
    states = StoredStates(store, design, precision)
    if pooling is None:
        with seeded(seed, "head"):
            pooling = build_pooling(design, states.dim, states.num_layers)
    return SentenceTransformer(modules=[states, pooling, Normalize()])


def save_head(model: SentenceTransformer, folder: Path) -> None:
    """Write the pooling of a model, in the format of a saved model, whole or not at all."""
    with whole_folder(folder) as partial:
        model[1].save(str(partial))


def load_head(design: Design, folder: Path) -> Pooling:
    """Return a saved pooling. Raises: ModelError where its files are missing or do not fit together."""
    return POOLING_CLASSES[design.pooling].load(str(folder))


class StoredEncoder:
    """Encodes with a model on stored states; the first call pools all texts of the store, in their order on disk."""

    def __init__(self, model: SentenceTransformer, on_progress: Callable[[int, int], None] | None = None) -> None:
        self.model, self.on_progress = model, on_progress
        self.states: StoredStates = model[0]
        self._embeddings: Embeddings | None = None

    def encode(self, texts: Sequence[str], prompt: str) -> Embeddings:
        """Return one embedding per text.

        Raises: EvalError for a text that is not in the store, or an embedding that is not finite.
        """
        rows = self.states.store.rows([(prompt, text) for text in texts])
        if self._embeddings is None:
            self._embeddings = self._pool_all()
        return np.asarray(self._embeddings[rows])

    @torch.inference_mode()
    def _pool_all(self) -> Embeddings:
        self.model.eval()
        store, start, parts = self.states.store, 0, []
        while start < len(store):
            stop = min(len(store), start + self._batch_size(start))
            features = self.states.rows_features(np.arange(start, stop))
            output = self.model({name: value.to(self.model.device) for name, value in features.items()})
            parts.append(output["sentence_embedding"].float().cpu().numpy())
            start = stop
            if self.on_progress is not None:
                self.on_progress(stop, len(store))
        embeddings = np.concatenate(parts)
        if not np.isfinite(embeddings).all():
            raise EvalError("the head gives NaN or infinite embeddings", "wanted finite ones", "look at its losses")
        return embeddings

    def _batch_size(self, start: int) -> int:
        """Return the batch size at ``start``; rows are sorted by length, so the first row is the longest."""
        states = self.states
        wide = states.num_layers if states.reader.need.layers else 1
        tokens = int(states.store.lengths.num_tokens[start]) if states.reader.need.tokens == "all" else wide
        return max(1, min(MOST_TEXTS, STATES_A_BATCH // (tokens * states.dim)))
