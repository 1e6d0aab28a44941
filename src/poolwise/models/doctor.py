"""Checks of ``poolwise doctor`` for any sentence-transformers model: attention, EOS, padding side, batch invariance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling as StockPooling
from torch import Tensor

from poolwise.errors import ModelError
from poolwise.models.attention import probe_attention
from poolwise.models.backbone import Backbone

Status = Literal["ok", "warn", "fail"]

_TEXTS = (
    "A dog.",
    "The committee will publish its report on harbour traffic next week.",
    "How do I convert a list of strings to integers?",
    "Rain is expected in the north, with strong winds along the coast and some sunshine further inland by the evening.",
)
# Relative to the mean distance between texts; the worst seen on tiny and nano models is 4e-6 in fp32.
_TOLERANCE = 1e-4
# A unit in the last place of bf16 is 1/256 of a value, and embeddings may be much longer than their distances.
_TOLERANCE_HALF = 0.1


@dataclass(frozen=True)
class Check:
    """One check: its name, its result, and what to do if it is wrong."""

    name: str
    status: Status
    found: str
    wanted: str = ""
    hint: str = ""


@contextmanager
def _examined(model: SentenceTransformer) -> Iterator[None]:
    """Switch off dropout, gradients and autocast; rounding by autocast would hide small errors."""
    was_training = model.training
    lowered = [(module, module.precision) for module in model if hasattr(module, "precision")]
    model.eval()
    for module, _ in lowered:
        module.precision = "fp32"
    try:
        with torch.no_grad():
            yield
    finally:
        for module, precision in lowered:
            module.precision = precision
        model.train(was_training)


@contextmanager
def _padded(model: SentenceTransformer, side: str) -> Iterator[None]:
    owner: Any = model[0] if isinstance(model[0], Backbone) else model.tokenizer
    before = owner.padding_side
    owner.padding_side = side
    try:
        yield
    finally:
        owner.padding_side = before


def _embed(model: SentenceTransformer, texts: Sequence[str]) -> Float[Tensor, "B D"]:
    features = model.preprocess(list(texts))
    placed = {name: x.to(model.device) if isinstance(x, Tensor) else x for name, x in features.items()}
    return model(placed)["sentence_embedding"].float()


def _worst_difference(a: Float[Tensor, "B D"], b: Float[Tensor, "B D"]) -> float:
    """Return the largest distance between two embeddings of a text, divided by the mean distance between texts."""
    between = torch.pdist(a).mean()
    return float((a - b).norm(dim=1).max() / between)


def _tolerance(model: SentenceTransformer) -> float:
    return _TOLERANCE if model.dtype == torch.float32 else _TOLERANCE_HALF


def _check_attention(model: SentenceTransformer) -> Check:
    probe = probe_attention(model)
    wanted = model[0].attention if isinstance(model[0], Backbone) else "the same with and without padding"
    is_right = probe.attention == wanted if isinstance(model[0], Backbone) else probe.attention != "mixed"
    moved = ", ".join(f"{name.removeprefix('padded_').replace('_', ' ')} {fact}" for name, fact in probe.facts.items())
    return Check(
        "attention",
        "ok" if is_right else "fail",
        f"{probe.attention} (token 0 moved: {moved})",
        wanted,
        "" if is_right else "try another attention implementation (eager), or use another base",
    )


def _last_id(model: SentenceTransformer, text: str) -> int:
    features = model.preprocess([text])
    ids = features["input_ids"][0][features["attention_mask"][0].bool()]
    # Trained tokens follow EOS; they have no place in the vocabulary.
    return int(ids[ids < model[0].tokens.vocab_size][-1] if isinstance(model[0], Backbone) else ids[-1])


def _check_eos(model: SentenceTransformer) -> Check:
    eos = model.tokenizer.eos_token_id
    if eos is None:
        return Check("eos", "ok", "not applicable: the tokenizer has no EOS token")
    limit = model.max_seq_length or 512
    ends = {name: _last_id(model, text) for name, text in (("short", "a dog"), ("cut", "a dog " * limit))}
    wrong = [
        f"{name} text ends in {model.tokenizer.convert_ids_to_tokens(i)!r}" for name, i in ends.items() if i != eos
    ]
    if not wrong:
        return Check("eos", "ok", "last token of short and of truncated texts")
    pools_last = any(isinstance(part, StockPooling) and "lasttoken" in str(part.pooling_mode) for part in model)
    return Check(
        "eos",
        "fail" if pools_last else "warn",
        ", ".join(wrong),
        repr(model.tokenizer.eos_token),
        "append EOS by id after truncation" if pools_last else "harmless unless the pooling takes the last token",
    )


def _check_padding(model: SentenceTransformer) -> Check:
    vectors = {}
    for side in ("left", "right"):
        with _padded(model, side):
            vectors[side] = _embed(model, _TEXTS)
    worst, limit = _worst_difference(vectors["left"], vectors["right"]), _tolerance(model)
    if worst <= limit:
        return Check("padding side", "ok", f"left and right differ by {worst:.1e}", f"at most {limit:g}")
    is_ours = isinstance(model[0], Backbone)
    return Check(
        "padding side",
        "fail" if is_ours else "warn",
        f"left and right differ by {worst:.1e} of the distance between texts",
        f"at most {limit:g}",
        f"keep padding_side={model[0].padding_side if is_ours else model.tokenizer.padding_side!r}",
    )


def _check_batch(model: SentenceTransformer) -> Check:
    alone = torch.cat([_embed(model, [text]) for text in _TEXTS])
    worst, limit = _worst_difference(alone, _embed(model, _TEXTS)), _tolerance(model)
    return Check(
        "batch invariance",
        "ok" if worst <= limit else "fail",
        f"alone and in a batch differ by {worst:.1e} of the distance between texts",
        f"at most {limit:g}",
        "" if worst <= limit else "padding changes the embeddings: check the attention mask, positions and pooling",
    )


def diagnose(model: SentenceTransformer) -> list[Check]:
    """Return four checks of any model with a transformer inside, computed in the model's own dtype.

    Raises: ModelError if the model has no transformer inside.
    """
    if model.transformers_model is None:
        raise ModelError(f"the model starts with {type(model[0]).__name__}", "wanted a model with a transformer inside")
    with _examined(model):
        return [_check_attention(model), _check_eos(model), _check_padding(model), _check_batch(model)]
