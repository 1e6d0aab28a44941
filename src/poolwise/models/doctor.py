"""Checks of ``poolwise doctor`` for any sentence-transformers model: attention, EOS, padding side, batch invariance."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Float
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling as StockPooling
from torch import Tensor

from poolwise.errors import ModelError
from poolwise.models.attention import exact, probe_attention, rounds
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
# Rounding beyond this share of the distance between texts changes which texts are near, so it is worth a warning. On a
# base of 30 layers in bf16 it was 0.13.
_MUCH_ROUNDING = 0.1
_WANTED = f"at most {_TOLERANCE:g} in fp32"


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
    """Switch off dropout and gradients."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
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


@dataclass(frozen=True)
class _Difference:
    """How far two embeddings of a text are apart, as a share of the distance between texts.

    Args:
        exact: in fp32.
        own: as the model computes; None if that is fp32.
        problem: why it could not be computed in fp32; ``exact`` is then ``own``.
    """

    exact: float
    own: float | None = None
    problem: str = ""

    def __str__(self) -> str:
        if self.problem:
            return f"{self.exact:.1e} of the distance between texts (not repeated in fp32: {self.problem})"
        if self.own is None:
            return f"{self.exact:.1e} of the distance between texts"
        return f"{self.own:.1e} of the distance between texts as it computes, {self.exact:.1e} in fp32"

    @property
    def is_rounding(self) -> bool:
        """Whether the model's dtype explains the difference, because it disappears in fp32."""
        return self.own is not None and self.own > _TOLERANCE and self.exact <= _TOLERANCE


def _difference(
    model: SentenceTransformer, embed_both: Callable[[], tuple[Float[Tensor, "B D"], Float[Tensor, "B D"]]]
) -> _Difference:
    """Return the difference of two ways to embed the same texts, in the model's dtype and in fp32.

    Rounding is no fault of the padding: only a difference that is left in fp32 names a cause.
    """
    own = _worst_difference(*embed_both())
    if not rounds(model):
        return _Difference(own)
    try:
        with exact(model):
            return _Difference(_worst_difference(*embed_both()), own)
    except RuntimeError as error:  # out of memory, or an architecture that casts to the dtype of its weights
        return _Difference(own, problem=str(error).splitlines()[0])


def _judged(name: str, what: str, found: _Difference, fault: Check) -> Check:
    """Return the check of a difference: fine, rounding, not known, or the fault."""
    shown = f"{what} differ by {found}"
    if found.exact <= _TOLERANCE and not found.is_rounding:
        return Check(name, "ok", shown, fault.wanted)
    if found.is_rounding:
        much = found.own is not None and found.own > _MUCH_ROUNDING
        hint = "load the model in fp32 if an embedding must not depend on its batch" if much else ""
        return Check(name, "warn" if much else "ok", f"{shown}: rounding, not padding", fault.wanted, hint)
    if found.problem:
        return Check(name, "warn", shown, fault.wanted, "load the model in fp32 and repeat the check")
    return replace(fault, found=shown)


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
    def both() -> tuple[Tensor, Tensor]:
        vectors = []
        for side in ("left", "right"):
            with _padded(model, side):
                vectors.append(_embed(model, _TEXTS))
        return vectors[0], vectors[1]

    is_ours = isinstance(model[0], Backbone)
    hint = f"keep padding_side={model[0].padding_side if is_ours else model.tokenizer.padding_side!r}"
    fault = Check("padding side", "fail" if is_ours else "warn", "", _WANTED, hint)
    return _judged("padding side", "left and right", _difference(model, both), fault)


def _check_batch(model: SentenceTransformer) -> Check:
    def both() -> tuple[Tensor, Tensor]:
        return torch.cat([_embed(model, [text]) for text in _TEXTS]), _embed(model, _TEXTS)

    hint = "padding changes the embeddings: check the attention mask, positions and pooling"
    fault = Check("batch invariance", "fail", "", _WANTED, hint)
    return _judged("batch invariance", "alone and in a batch", _difference(model, both), fault)


def diagnose(model: SentenceTransformer) -> list[Check]:
    """Return four checks of any model with a transformer inside.

    They compute as the model does. If it computes in less than fp32, whatever compares embeddings is repeated in fp32,
    so rounding is not taken for a fault.

    Raises: ModelError if the model has no transformer inside.
    """
    if model.transformers_model is None:
        raise ModelError(f"the model starts with {type(model[0]).__name__}", "wanted a model with a transformer inside")
    with _examined(model):
        return [_check_attention(model), _check_eos(model), _check_padding(model), _check_batch(model)]
