"""What a model's pooling weighs in a text: its tokens and, if the design pools layers, its layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from sentence_transformers import SentenceTransformer

from poolwise.errors import DataError
from poolwise.kernels.precision import autocast
from poolwise.kernels.reduction import reduction_weights
from poolwise.layer_subsets import LayerSubset
from poolwise.models.backbone import Backbone
from poolwise.models.pooling.base import Pooling
from poolwise.models.tokens import with_landmarks
from poolwise.models.weighed import PoolingWeights, Role, WeighedToken, characters
from poolwise.models.weighing_others import weigh_other


def pooling_weights(
    model: SentenceTransformer, texts: Sequence[str], *, prompt: str | None = None
) -> list[PoolingWeights]:
    """Return what a model's pooling weighs in each text: tokens, and layers if the design pools them.

    The pooling of a model that poolwise did not build is measured.

    Args:
        texts: a list of texts.
        prompt: put before every text; None takes the model's default prompt.
    Raises: DataError if an input is not a text, or ``texts`` is a single text; ModelError if the first module of the
        model returns no token states.

    Example:

        >>> import poolwise
        >>> model = poolwise.build_model("mean+causal", "poolwise/nano")
        >>> (found,) = poolwise.pooling_weights(model, ["read a file"])
        >>> [(token.text, round(token.weight, 2)) for token in found.tokens]
        [('read', 0.25), (' a', 0.25), (' file', 0.25), ('<|eos|>', 0.25)]
    """
    if isinstance(texts, str):
        raise DataError(f"texts is one text, {texts[:40]!r}", "wanted a list of texts", "put it in a list")
    used = (model.prompts or {}).get(model.default_prompt_name or "", "") if prompt is None else prompt
    was_training = model.training
    model.eval()
    backbone, pooling = model[0], model[min(1, len(model) - 1)]
    try:
        if isinstance(backbone, Backbone) and isinstance(pooling, Pooling):
            return [_weigh(backbone, pooling, text, used) for text in texts]
        return [weigh_other(model, text, used) for text in texts]
    finally:
        model.train(was_training)


@torch.inference_mode()
def _weigh(backbone: Backbone, pooling: Pooling, text: str, prompt: str) -> PoolingWeights:
    rows, num_prompt = backbone.tokens.encode([text], prompt, backbone.max_tokens)
    device = backbone.model.device
    features = backbone({name: value.to(device) for name, value in backbone.arrange(rows, num_prompt).items()})
    with autocast(pooling.precision, device):
        by_layer = pooling.layer_weights(features)
        if backbone.layer_tokens is None:
            by_token = pooling.token_weights(features)
        else:
            by_token = reduction_weights(features["pooling_mask"].bool(), backbone.layer_tokens)
    pieces, is_truncated = _pieces(backbone, rows[0], num_prompt[0], text, prompt)
    real = features["attention_mask"][0].bool()
    weights = by_token[0][real].double().tolist()
    return PoolingWeights(
        tokens=tuple(WeighedToken(*piece, weight) for piece, weight in zip(pieces, weights, strict=True)),
        token_kind=pooling.weights_kind if backbone.layer_tokens is None else "exact",
        layers=() if by_layer is None else _all_layers(by_layer[0].double().tolist(), pooling, backbone.num_layers),
        layer_kind=None if by_layer is None else pooling.weights_kind,
        is_truncated=is_truncated,
    )


def _all_layers(weights: list[float], pooling: Any, num_layers: int) -> tuple[float, ...]:
    """Return the weights of layers 1 .. L; layers outside the subset have 0."""
    known = dict(zip(LayerSubset(pooling.subset).numbers(num_layers), weights, strict=True))
    return tuple(known.get(number, 0.0) for number in range(1, num_layers + 1))


def _pieces(
    backbone: Backbone, row: list[int], num_prompt: int, text: str, prompt: str
) -> tuple[list[tuple[str, Role]], bool]:
    """Return the characters and the role of each id of a row, and whether the text was truncated."""
    tokens = backbone.tokens
    tokenizer = tokens.tokenizer
    shown, _ = characters(tokenizer, prompt + text)
    num_all = len(shown)
    num_start, num_soft = len(tokens.prefix), len(tokens.soft_ids)
    num_end = len(tokens.ending) or int(len(row) == 1 + num_soft and not num_all)
    num_content = len(row) - num_start - num_end - num_soft
    num_landmarks = tokens.num_landmarks(len(row), num_prompt)
    skipped = max(num_prompt - num_start, 0)
    # In an echo the text is there twice, the prompt once.
    kept = (num_content + skipped) // 2 if tokens.echoes else num_content - num_landmarks
    names = [str(name) for name in tokenizer.convert_ids_to_tokens(row[: len(row) - num_soft])]
    pieces: list[tuple[str, Role]] = [(name, "start") for name in names[:num_start]]
    pieces += [(piece, "prompt") for piece in shown[: min(skipped, kept)]]
    text_pieces: list[tuple[str, Role]] = [(piece, "text") for piece in shown[skipped:kept]]
    if tokens.landmark_every is not None:
        text_pieces = with_landmarks(text_pieces, (names[-1], "landmark"), tokens.landmark_every)
    pieces += text_pieces
    if tokens.echoes:
        pieces += [(piece, "repetition") for piece in shown[skipped:kept]]
    pieces += [(name, "end") for name in names[num_start + num_content :]]
    pieces += [(f"trained {number}", "trained") for number in range(1, num_soft + 1)]
    return pieces, num_all > _room(backbone)


def _room(backbone: Backbone) -> int:
    """Return how many ids of ``prompt + text`` a model reads at most."""
    return max(backbone.max_tokens - len(backbone.tokens.prefix) - len(backbone.tokens.ending), 0)
