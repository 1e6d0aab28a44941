"""Late chunking: the model reads a document whole, and the token states of each chunk are pooled.

Source: arXiv:2409.04701, which pools by the mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from sentence_transformers import SentenceTransformer
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from poolwise.corpus.rows import Row
from poolwise.design import parse_design
from poolwise.errors import ConfigError
from poolwise.kernels.batches import plan_batches, token_budget
from poolwise.models.backbone import Backbone

POOLED = ("mean", "last")
"""Poolings that a chunk's token states define: their mean, or the state of the last of them."""
_SLACK = 8
"""A part of a text may have a few more tokens than it had inside the text."""


def require_late_pooling(model: SentenceTransformer) -> None:
    """Raise ConfigError where the pooling of a model is not defined for a part of a text."""
    backbone = model[0]
    if not isinstance(backbone, Backbone):
        raise ConfigError(
            "--pool-chunks with a model of another tool", "wanted a poolwise model", "leave --pool-chunks out"
        )
    design = parse_design(backbone.design)
    if reason := _why_not(design.pooling, design.echoes):
        raise ConfigError(
            f"--pool-chunks with {design}: {reason}",
            f"wanted a pooling of a text's own tokens: {' or '.join(POOLED)}",
            "leave --pool-chunks out: each chunk is then read by itself",
        )


def _why_not(pooling: str, echoes: bool) -> str:
    if echoes:
        return "it reads a text twice and pools the second reading"
    if pooling == "soft_tokens":
        return "it pools trained tokens after the whole text"
    if pooling == "landmark":
        return "it pools landmarks, whose chunks are not those of the corpus"
    return "" if pooling in POOLED else f"{pooling} was trained to pool whole texts"


@dataclass(frozen=True)
class _Window:
    """A part of a document that is read at once, and the chunks in it: (row, first token, end) of its ids."""

    ids: list[int]
    num_prompt: int
    chunks: list[tuple[int, int, int]]


def pool_chunks(model: SentenceTransformer, rows: Sequence[Row], prompt: str) -> Float[np.ndarray, "N D"]:
    """Return one embedding per chunk, in order, in fp32. The chunks of a document must follow one another.

    A document longer than the model's ``max_tokens`` is read in parts, each from the start of a chunk.

    Law: a document that is a single chunk has the embedding of ``model.encode``, up to rounding.
    """
    backbone = model[0]
    assert isinstance(backbone, Backbone)
    windows = list(_windows(backbone, rows, prompt))
    batches = plan_batches([len(window.ids) for window in windows], token_budget(backbone.model.device))
    parts: dict[int, Tensor] = {}
    was_training = model.training
    model.eval()
    try:
        for batch in batches:
            parts |= _read(model, backbone, [windows[number] for number in batch])
    finally:
        model.train(was_training)
    stacked: Float[np.ndarray, "N D"] = torch.stack([parts[place] for place in range(len(rows))]).numpy()
    return stacked


def _windows(backbone: Backbone, rows: Sequence[Row], prompt: str) -> list[_Window]:
    tokens = backbone.tokens
    used = len(tokens.prefix) + 1 + len(tokens.tokenizer(prompt, add_special_tokens=False)["input_ids"])
    room = backbone.max_tokens - used - _SLACK
    groups: list[list[int]] = []
    for place, row in enumerate(rows):
        assert row.span is not None
        first = rows[groups[-1][0]].span if groups else None
        is_same = first is not None and first.document == row.span.document
        if is_same and first is not None and row.span.end_token - first.start_token <= room:
            groups[-1].append(place)
        else:
            groups.append([place])
    return [_window(backbone, [(place, rows[place]) for place in group], prompt) for group in groups]


def _window(backbone: Backbone, chunks: Sequence[tuple[int, Row]], prompt: str) -> _Window:
    spans = [row.span for _, row in chunks if row.span is not None]
    context = chunks[0][1].context
    assert context is not None
    start, end = spans[0].start_char, spans[-1].end_char
    text = context[start:end]
    (ids,), (num_prompt,) = backbone.tokens.encode([text], prompt, backbone.max_tokens)
    tokenizer, num_prefix = backbone.tokens.tokenizer, len(backbone.tokens.prefix)
    found = tokenizer(prompt + text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    starts = [offset[0] - len(prompt) + start for offset in found["offset_mapping"]][: len(ids) - num_prefix - 1]
    places = np.asarray(starts)
    bounds = []
    for (place, _), span in zip(chunks, spans, strict=True):
        # BOS, prompt and EOS are pooled as in a whole text: with the first chunk and with the last.
        low = 0 if span.chunk == 0 else num_prefix + int(np.searchsorted(places, span.start_char))
        high = len(ids) if span.is_last else num_prefix + int(np.searchsorted(places, span.end_char))
        bounds.append((place, min(low, len(ids) - 2), max(high, min(low, len(ids) - 2) + 1)))
    return _Window(ids, num_prompt, bounds)


@torch.inference_mode()
def _read(model: SentenceTransformer, backbone: Backbone, windows: Sequence[_Window]) -> dict[int, Tensor]:
    """Return the embeddings of the chunks of one batch, by row."""
    device = backbone.model.device
    arranged = backbone.arrange([window.ids for window in windows], [window.num_prompt for window in windows])
    read = backbone({name: value.to(device) for name, value in arranged.items()})
    states, pooled = read["token_embeddings"], read["pooling_mask"].bool()
    width = states.shape[1]
    shifts = [width - len(window.ids) if backbone.padding_side == "left" else 0 for window in windows]
    places, parts, masks = [], [], []
    for number, window in enumerate(windows):
        for place, low, high in window.chunks:
            part = slice(low + shifts[number], high + shifts[number])
            places.append(place)
            parts.append(states[number, part])
            masks.append(pooled[number, part])
    features: dict[str, Any] = {
        "token_embeddings": pad_sequence(parts, batch_first=True),
        "pooling_mask": pad_sequence(masks, batch_first=True),
    }
    features["attention_mask"] = features["pooling_mask"].long()
    for module in list(model)[1:]:
        features = module(features)
    return dict(zip(places, features["sentence_embedding"].float().cpu(), strict=True))
