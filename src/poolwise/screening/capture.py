"""One pass of the frozen base over a set of texts, which stores every state that some pooling reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from torch import Tensor

from poolwise.attentions import Attention
from poolwise.base_dtypes import HeldDtype
from poolwise.design import Design
from poolwise.errors import EvalError
from poolwise.kernels.precision import autocast
from poolwise.kernels.reduction import last_token, mean_tokens, weighted_mean_tokens, without_first
from poolwise.models import Backbone, build_model, prepare_encoding
from poolwise.screening.arrays import StateFile
from poolwise.screening.needs import Need
from poolwise.screening.store import Key, StateStore, StoreSpec

MARK_BATCHES = 32
"""Batches between two marks of progress on disk: the most that a kill can lose."""
TOKENISED_AT_ONCE = 4096

_REDUCTIONS = {"last": last_token, "mean": mean_tokens, "weighted_mean": weighted_mean_tokens}


def reading_model(
    base: str,
    attention: Attention,
    max_tokens: int,
    precision: str,
    base_dtype: HeldDtype,
    *,
    split_special_tokens: bool = True,
) -> SentenceTransformer:
    """Return the frozen base as used for a pass; its attention is probed, its pooling is not used."""
    model = build_model(
        # With skipped prompts, preprocessing counts their tokens; the mask with prompts is the attention mask.
        Design("mean", attention, (("prompt", "skip"),)),
        base,
        method="frozen",
        max_tokens=max_tokens,
        precision=precision,  # type: ignore[arg-type]
        base_dtype=base_dtype,
        split_special_tokens=split_special_tokens,
    )
    return prepare_encoding(model)


@torch.inference_mode()
def fill_store(
    store: StateStore,
    needs: Sequence[Need],
    batch_size: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> int:
    """Compute the missing states of a store, and return how many texts were read.

    One forward pass per batch serves all needs; a second reduction of the layers' tokens (``tokens=`` other than the
    attention's default) needs a second pass. An interrupted run resumes where it last marked its progress.

    Raises: EvalError where a state is not finite.
    """
    spec = store.spec
    model: SentenceTransformer | None = None
    if not store.is_laid_out:
        model = _model_of(spec)
        _lay_out(store, model[0])
    files = {need: store.file(need) for need in needs}
    todo = {need: file for need, file in files.items() if file.done < file.length}
    if not todo:
        return 0
    model = model or _model_of(spec)
    first = min(_rows_done(store, need, file) for need, file in todo.items())
    for number, start in enumerate(range(first, len(store), batch_size), start=1):
        stop = min(start + batch_size, len(store))
        states = _read_batch(model, store, todo, slice(start, stop))
        for need, file in todo.items():
            if _place(store, need, stop) > file.done:  # else whole, and another kind of state is missing here
                file.write(_place(store, need, start), states[need])
        if number % MARK_BATCHES == 0 or stop == len(store):
            for need, file in todo.items():
                file.mark(_place(store, need, stop))
            if on_progress is not None:
                on_progress(stop, len(store))
    return len(store) - first


def _model_of(spec: StoreSpec) -> SentenceTransformer:
    return reading_model(
        spec.base,
        spec.attention,
        spec.max_tokens,
        spec.precision,
        spec.base_dtype,
        split_special_tokens=spec.split_special_tokens,
    )


def _lay_out(store: StateStore, backbone: Backbone) -> None:
    counts = [
        np.array(_count(backbone, prompt, [text for _, text in group]), np.int64)
        for prompt, group in _by_prompt(store.spec.keys)
    ]
    num_tokens, num_prompt = np.concatenate(counts, axis=1)
    store.lay_out(num_tokens, num_prompt, backbone.get_embedding_dimension(), backbone.num_layers)


def _count(backbone: Backbone, prompt: str, texts: Sequence[str]) -> tuple[list[int], list[int]]:
    num_tokens: list[int] = []
    num_prompt: list[int] = []
    for start in range(0, len(texts), TOKENISED_AT_ONCE):
        part = texts[start : start + TOKENISED_AT_ONCE]
        rows, skipped = backbone.tokens.encode(part, prompt, backbone.max_tokens)
        num_tokens += map(len, rows)
        num_prompt += skipped
    return num_tokens, num_prompt


def _by_prompt(keys: Sequence[Key]) -> list[tuple[str, list[Key]]]:
    """Return the keys of each prompt; the keys are sorted, so these are adjacent."""
    return [(prompt, list(group)) for prompt, group in groupby(keys, key=lambda key: key[0])]


def _place(store: StateStore, need: Need, row: int) -> int:
    """Return where the states of a row start in the file."""
    return int(store.lengths.starts[row]) if need.tokens == "all" else row


def _rows_done(store: StateStore, need: Need, file: StateFile) -> int:
    if need.tokens != "all":
        return file.done
    return int(np.searchsorted(store.lengths.starts, file.done, side="left"))


def _read_batch(
    model: SentenceTransformer, store: StateStore, needs: Mapping[Need, StateFile], rows: slice
) -> dict[Need, NDArray[np.float32]]:
    keys = [store.spec.keys[number] for number in store.lengths.order[rows]]
    # Texts of one batch may have different prompts: encode one prompt at a time, then restore the order.
    parts: dict[Need, list[NDArray[np.float32]]] = {need: [] for need in needs}
    order: list[int] = []
    for prompt in dict.fromkeys(key[0] for key in keys):
        chosen = [place for place, key in enumerate(keys) if key[0] == prompt]
        order += chosen
        for need, rows_of in states_of(model, prompt, [keys[place][1] for place in chosen], list(needs)).items():
            parts[need] += rows_of
    inverse = np.argsort(order)
    states = {need: [found[place] for place in inverse] for need, found in parts.items()}
    joined = {n: np.concatenate(rows_of) if n.tokens == "all" else np.stack(rows_of) for n, rows_of in states.items()}
    for need, values in joined.items():
        if not np.isfinite(values).all():
            raise EvalError(
                f"the base gives NaN or infinite states {need.name}, for texts such as {keys[0][1][:60]!r}",
                "wanted finite states",
                "try eval.precision: fp32",
            )
    return joined


def states_of(
    model: SentenceTransformer, prompt: str, texts: Sequence[str], needs: Sequence[Need]
) -> dict[Need, list[NDArray[np.float32]]]:
    """Return the states of texts, one array per text: the backbone's output, reduced as the pooling reads it."""
    backbone: Backbone = model[0]
    features = {k: v.to(model.device) for k, v in backbone.preprocess(texts, prompt=prompt or None).items()}
    mask = features["attention_mask"].bool()
    masks = {"keep": mask, "skip": features["pooling_mask"].bool()}
    found: dict[Need, list[NDArray[np.float32]]] = {}
    final: Tensor | None = None
    for tokens, how in sorted({(need.tokens, need.prompt) for need in needs if need.layers}):
        backbone.layer_tokens = tokens
        output = backbone({**features, "pooling_mask": masks[how]})
        layers, final = output["layer_embeddings"].float().cpu().numpy(), output["token_embeddings"]
        found |= {need: list(layers) for need in needs if need.layers and (need.tokens, need.prompt) == (tokens, how)}
    if final is None:
        backbone.layer_tokens = None
        final = backbone(features)["token_embeddings"]
    with autocast(backbone.precision, model.device):
        for need in needs:
            if not need.layers:
                pooled = masks[need.prompt] & without_first(mask) if need.skips_bos else masks[need.prompt]
                found[need] = _reduced(final, mask, pooled, need)
    return found


def _reduced(
    states: Float[Tensor, "B T D"], mask: Bool[Tensor, "B T"], pooled: Bool[Tensor, "B T"], need: Need
) -> list[NDArray[np.float32]]:
    if need.tokens == "all":
        flat = states[mask].float().cpu().numpy()
        return np.split(flat, np.cumsum(mask.sum(dim=1).cpu().numpy())[:-1])
    return list(_REDUCTIONS[need.tokens](states, pooled).float().cpu().numpy())
