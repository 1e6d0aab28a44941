"""Checks of what happens around the pooling: the final norm before it, the normalisation after it, and dtypes."""

from __future__ import annotations

from typing import Any

import torch
from sentence_transformers.base.modules import Normalize
from torch import Tensor, nn

from poolwise.checks.check import Check, Measured
from poolwise.checks.pooling import is_usable
from poolwise.checks.probe_texts import MIXED
from poolwise.checks.subject import Subject
from poolwise.errors import ModelError
from poolwise.kernels.layers import decoder_layers
from poolwise.kernels.precision import uses_bf16

_FINAL_NORMS = ("norm", "final_layernorm", "final_layer_norm", "final_norm", "ln_f", "norm_f", "ln_final")
"""The names of a decoder's final norm in transformers' architectures."""
_SAME = 1e-4
_UNIT = 1e-2
"""A unit vector rounded to bf16 is within 4e-3 of length 1."""


def check_final_norm(subject: Subject) -> list[Check]:
    """Return the check whether pooled states are those after the transformer's final norm."""
    try:
        layers = decoder_layers(subject.transformer)
    except ModelError as error:
        return [Check("final norm", "skip", error.got)]
    raw, normed, tokens = _around_the_norm(subject, layers)
    if raw is None or tokens is None:
        return [Check("final norm", "skip", "the model gives no token states")]
    width = min(len(raw), len(tokens))
    if any(_is_same(found, tokens) for found in normed):
        return [Check("final norm", "pass", "included: the pooled states are those after it", "", "", _fact(True))]
    has_norm = bool(normed) or _has_final_norm(subject.transformer, layers)
    if not has_norm:
        found = "the architecture has none after its last layer"
        return [Check("final norm", "pass", found, "", "", {"is_included": None})]
    if _is_same(raw[:width], tokens[:width]):
        hint = "read last_hidden_state; other engines apply the norm"
        return [
            Check(
                "final norm", "warn", "left out: the last layer's raw states are pooled", "included", hint, _fact(False)
            )
        ]
    return [
        Check(
            "final norm", "pass", "other states are pooled than those of the last layer", "", "", {"is_included": None}
        )
    ]


def _fact(is_included: bool) -> dict[str, bool]:
    return {"is_included": is_included}


def _is_same(a: Tensor, b: Tensor) -> bool:
    width = min(len(a), len(b))
    return a.shape[1:] == b.shape[1:] and float((a[:width] - b[:width]).abs().max()) <= _SAME * float(b.abs().max())


def _around_the_norm(subject: Subject, layers: nn.ModuleList) -> tuple[Tensor | None, list[Tensor], Tensor | None]:
    """Return a text's states (T D): after the last layer, after each norm that follows, and as they are pooled."""
    raw: list[Tensor] = []
    normed: list[Tensor] = []

    def flat(output: Any) -> Tensor:
        states = output[0] if isinstance(output, tuple) else output
        return states.reshape(-1, states.shape[-1]).detach().float().clone()

    def keep_raw(_module: nn.Module, _inputs: Any, output: Any) -> None:
        raw[:] = [flat(output)]
        normed.clear()  # norms of the embeddings, before the layers

    def keep_normed(_module: nn.Module, _inputs: Any, output: Any) -> None:
        normed.append(flat(output))

    inside = {id(module) for module in layers.modules()}
    handles = [layers[-1].register_forward_hook(keep_raw)]
    handles += [
        module.register_forward_hook(keep_normed)
        for module in subject.transformer.modules()
        if "norm" in type(module).__name__.lower() and id(module) not in inside
    ]
    try:
        (trace,), _ = subject.traces(MIXED[1:2])
    finally:
        for handle in handles:
            handle.remove()
    return (raw[0] if raw else None), normed, trace.tokens


def _has_final_norm(transformer: nn.Module, layers: nn.ModuleList) -> bool:
    """Return whether there is a final norm beside the layers, called or not."""
    parent = next(module for module in transformer.modules() if any(child is layers for child in module.children()))
    return any(isinstance(getattr(parent, name, None), nn.Module) for name in _FINAL_NORMS)


def check_normalisation(subject: Subject) -> list[Check]:
    """Return the check of how often embeddings are scaled to length 1."""
    if reason := subject.blocked:
        return [Check("normalisation", "skip", reason)]
    trace = next((t for text in MIXED if is_usable((t := subject.trace(text)).stages[-1][1])), None)
    if trace is None:
        return [Check("normalisation", "skip", "not judged: see distinct vectors")]
    are_unit = [abs(float(vector.norm()) - 1) <= _UNIT for _, vector in trace.stages]
    num_times = sum(isinstance(module, Normalize) for module in subject.model)
    # One after another module that changed the length is needed; one after another Normalize is not.
    num_needless = sum(
        name == Normalize.__name__ and was_unit
        for (name, _), was_unit in zip(trace.stages[1:], are_unit[:-1], strict=True)
    )
    similarity = str(subject.model.similarity_fn_name or "cosine")
    measured: Measured = {"is_unit": are_unit[-1], "num_modules": num_times, "similarity": similarity}
    if num_needless and num_times > 1:
        hint = "remove all but the last Normalize from modules.json"
        found = f"{num_times} times; {num_needless} of them scale what already has length 1"
        return [Check("normalisation", "warn", found, "once", hint, measured)]
    if num_times and not are_unit[-1]:
        hint = "put Normalize last in modules.json"
        return [Check("normalisation", "warn", "undone by a module after it", "once, last", hint, measured)]
    if are_unit[-1]:
        found = "once" if num_times else "embeddings have length 1 without a Normalize"
    else:
        lengths = subject.unrelated.norm(dim=1)
        found = f"none: lengths {float(lengths.min()):.3g} to {float(lengths.max()):.3g}; scores are {similarity}"
    return [Check("normalisation", "pass", found, "", "", measured)]


def check_dtype(subject: Subject) -> list[Check]:
    """Return the check of the dtypes of weights and embeddings."""
    weights = sorted({_name(w.dtype) for w in subject.model.parameters() if w.is_floating_point()})
    held = sorted({_name(w.dtype) for w in subject.transformer.parameters()})
    made = _name(subject.model(subject.features([MIXED[0]]))["sentence_embedding"].dtype)
    measured = {"weights": ", ".join(held), "all_weights": ", ".join(weights), "embeddings": made}
    products = ""
    if subject.backbone is not None:
        narrow = uses_bf16(subject.backbone.precision, subject.model.device)
        products = f", products in {'bf16' if narrow else 'fp32'}"
    found = f"weights {', '.join(held)}{products}, embeddings {made}"
    if {"bfloat16", "float16"} <= set(weights):
        hint = "load all parts in one dtype"
        return [Check("dtype", "warn", f"{found}: two half precisions", "one", hint, measured)]
    return [Check("dtype", "pass", found, "", "", measured)]


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
