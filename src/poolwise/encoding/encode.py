"""The fast way from texts to vectors with one of our models."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from poolwise.encoding.batches import plan_batches, token_budget
from poolwise.encoding.lanes import num_lanes, open_lanes
from poolwise.errors import ModelError
from poolwise.modules import Backbone
from poolwise.modules.pooling.base import Pooling

WINDOW = 4096
"""Texts sorted by length among themselves; the next window is tokenised while the model reads this one."""

Rows = tuple[list[list[int]], list[int]]
"""Token ids of each text, and how many of its first ids are prompt."""


def is_readable(model: object) -> bool:
    """Return whether ``encode_texts`` takes a model: one that poolwise built or loaded."""
    return isinstance(model, SentenceTransformer) and isinstance(model[0], Backbone)


def encode_texts(
    model: SentenceTransformer,
    texts: Sequence[str],
    prompt: str = "",
    *,
    budget: int | None = None,
    most_texts: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Float[np.ndarray, "B D"]:
    """Return one vector a text, in order, fp32: what ``model.encode`` returns, sooner.

    Best with a model made ready by ``prepare_encoding``.

    Args:
        prompt: put before every text.
        budget: tokens a forward pass; None takes what suits the device. On a processor several passes run at once.
        most_texts: at most so many texts a forward pass.
        on_progress: called with (texts done, texts in all) after every batch.
    Raises: ModelError where the model is not one of ours; DataError where an input is not a text.
    Law: the vectors do not depend on the other texts, beyond the rounding of products of another shape.
    """
    backbone = model[0]
    if not isinstance(backbone, Backbone):
        raise ModelError(
            f"the model starts with {type(backbone).__name__}", "wanted one of poolwise", "use model.encode"
        )
    vectors: NDArray[np.float32] = np.empty((len(texts), model.get_embedding_dimension() or 0), dtype=np.float32)
    done = 0
    budget, lanes = budget or token_budget(model.device), num_lanes(model.device)
    with ExitStack() as stack:
        read_all = None
        for start, (rows, num_prompt) in _tokenised(backbone, texts, prompt):
            batches = plan_batches([len(row) for row in rows], budget, most_texts)
            if read_all is None:  # one batch alone is read by all threads together
                read_all = stack.enter_context(open_lanes(model, min(lanes, len(batches))))
            work = [([rows[i] for i in batch], [num_prompt[i] for i in batch]) for batch in batches]
            for batch, found in zip(batches, read_all(_read, work), strict=True):
                vectors[[start + i for i in batch]] = found
                done += len(batch)
                if on_progress is not None:
                    on_progress(done, len(texts))
    return vectors


def _tokenised(backbone: Backbone, texts: Sequence[str], prompt: str) -> Iterator[tuple[int, Rows]]:
    """Yield windows of token ids, one ahead of the reader."""
    starts = range(0, len(texts), WINDOW)

    def tokenise(start: int) -> Rows:
        return backbone.tokens.encode(list(texts[start : start + WINDOW]), prompt, backbone.max_tokens)

    with ThreadPoolExecutor(1) as pool:
        ahead: Future[Rows] | None = pool.submit(tokenise, 0) if texts else None
        for start in starts:
            assert ahead is not None
            rows = ahead.result()
            ahead = pool.submit(tokenise, start + WINDOW) if start + WINDOW < len(texts) else None
            yield start, rows


@torch.inference_mode()
def _read(model: SentenceTransformer, work: Rows) -> Float[np.ndarray, "B D"]:
    features: dict[str, Any] = model[0].arrange(*work)
    on_device = {name: value.to(model.device) for name, value in features.items()}
    output = model({**on_device, "last_only": _reads_last_only(model)})
    vectors: NDArray[np.float32] = output["sentence_embedding"].float().cpu().numpy()
    return vectors


def _reads_last_only(model: SentenceTransformer) -> bool:
    """Return whether nothing but the last token of a text, in one layer or in all, makes its vector."""
    backbone, pooling = model[0], model[1]
    return isinstance(pooling, Pooling) and (backbone.layer_tokens or pooling.tokens_read) == "last"
