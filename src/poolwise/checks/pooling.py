"""Checks of pooling: which one is in use, found by comparing the pooled vector with every candidate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from poolwise.checks.check import Check
from poolwise.checks.probe_texts import MIXED
from poolwise.checks.subject import Subject, Trace, read_json, read_modules
from poolwise.design import Design, parse_design

PROMPT = "query: "
"""For models without prompts of their own."""
# Between unit vectors. In fp32 the right candidate is within 1e-6, and the mean with and without one token further than
# 1e-2 apart on tiny bases; below fp32 rounding is up to 1e-2.
_SAME, _SAME_ROUNDED = 1e-3, 2e-2

States = Float[Tensor, "T D"]


def _weighted(states: Tensor, start: int = 0) -> Tensor:
    weights = torch.arange(1 + start, len(states) + 1 + start, device=states.device)[:, None]
    return (states * weights).sum(dim=0) / weights.sum()


CANDIDATES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "last": lambda states: states[-1],
    "mean": lambda states: states.mean(dim=0),
    "weighted mean": _weighted,
    "first": lambda states: states[0],
    "max": lambda states: states.max(dim=0).values,
    "last without the last token": lambda states: states[-2],
    "mean without the first token": lambda states: states[1:].mean(dim=0),
    "mean without the last token": lambda states: states[:-1].mean(dim=0),
    "mean without the first and the last token": lambda states: states[1:-1].mean(dim=0),
}
"""Poolings of a text's token states (T D), for texts of at least three tokens. Vectors are compared by direction, so
``mean`` is also the sum and the mean over the root of the length."""

_STOCK = {
    "lasttoken": "last",
    "mean": "mean",
    "mean_sqrt_len_tokens": "mean",
    "weightedmean": "weighted mean",
    "cls": "first",
    "max": "max",
}
"""sentence-transformers' names."""
_OLD_KEYS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


def is_usable(vector: Tensor) -> bool:
    """Return whether a vector has a direction: neither zero nor NaN."""
    return bool(vector.any()) and bool(vector.isfinite().all())


def _angle(a: Tensor, b: Tensor) -> float:
    """Return the distance between two vectors scaled to length 1."""
    lengths = (a.norm(), b.norm())
    return float((a / lengths[0] - b / lengths[1]).norm())


def _parts(pooled: Tensor, width: int) -> list[Tensor]:
    """Return a vector as the vectors that were concatenated; [] if it has another width."""
    return list(pooled.split(width)) if len(pooled) % width == 0 else []


@dataclass(frozen=True)
class Found:
    """The pooling in use.

    Args:
        names: of the candidates that match, for each concatenated part; None if a part matches none.
        nearest: the nearest candidate, and its distance.
    """

    names: tuple[frozenset[str], ...]
    nearest: tuple[str, float]

    @property
    def text(self) -> str:
        """The matching candidates in words; empty if a part matches none."""
        if not self.names or not all(self.names):
            return ""
        return " + ".join(" or ".join(name for name in CANDIDATES if name in part) for part in self.names)

    def is_one_of(self, claimed: tuple[str, ...]) -> bool:
        """Return whether the candidates claimed for each part match."""
        return len(claimed) == len(self.names) and all(c in part for c, part in zip(claimed, self.names, strict=True))


def find_pooling(subject: Subject) -> Found | None:
    """Return the pooling in use, measured once; None if the model gives no token states."""
    if "pooling" not in subject.known:
        subject.known["pooling"] = _measured_pooling(subject)
    found: Found | None = subject.known["pooling"]
    return found


def _measured_pooling(subject: Subject) -> Found | None:
    traces, is_exact = subject.traces(MIXED[1:])
    tolerance = _SAME if is_exact else _SAME_ROUNDED
    usable = [t for t in traces if t.tokens is not None and len(t.tokens) >= 3 and t.stages and is_usable(t.pooled)]
    if not usable:
        return None
    return _matching(usable, tolerance)


def _matching(traces: list[Trace], tolerance: float) -> Found | None:
    worst: list[dict[str, float]] = []
    for trace in traces:
        assert trace.tokens is not None
        parts = _parts(trace.pooled, trace.tokens.shape[1])
        if not parts:
            return None
        worst = worst or [dict.fromkeys(CANDIDATES, 0.0) for _ in parts]
        for place, part in enumerate(parts):
            for name, pool in CANDIDATES.items():
                worst[place][name] = max(worst[place][name], _angle(part, pool(trace.tokens)))
    names = tuple(frozenset(name for name, angle in part.items() if angle <= tolerance) for part in worst)
    nearest = min(((name, angle) for part in worst for name, angle in part.items()), key=lambda pair: pair[1])
    return Found(names, nearest)


def reads_last(subject: Subject) -> bool:
    """Return whether the last token alone decides an embedding, by comparison or by the design."""
    found = find_pooling(subject) if not subject.blocked else None
    if (
        subject.backbone is not None and subject.backbone.layer_tokens == "last"
    ):  # pooled layers, as the probe sees them
        return True
    if found is None:
        return "last" in (claimed_pooling(subject) or ())
    return any("last" in part for part in found.names)


def _design(subject: Subject) -> Design | None:
    return None if subject.backbone is None else parse_design(subject.backbone.design)


def _pooling_module(subject: Subject) -> Any:
    return next((module for module in subject.model if hasattr(module, "pooling_mode")), None)


def claimed_pooling(subject: Subject) -> tuple[str, ...] | None:
    """Return the candidates that the configuration names, one for each concatenated part; None if it names none."""
    design = _design(subject)
    if design is not None:
        if design.is_trainable or design.echoes or design.pooling not in ("last", "mean", "weighted_mean"):
            return None
        return ("mean without the first token" if design.skips_bos else design.pooling.replace("_", " "),)
    module = _pooling_module(subject)
    if module is None:
        return None
    modes = (module.pooling_mode,) if isinstance(module.pooling_mode, str) else tuple(module.pooling_mode)
    return tuple(_STOCK.get(mode, mode) for mode in modes)


def pooling_path(subject: Subject) -> str | None:
    """Return the path of the pooling's config.json below the model's folder; None if there is none."""
    if subject.folder is None:
        return None
    for module in read_modules(subject.folder):
        path = f"{module.get('path', '')}/config.json"
        stored = read_json(subject.folder / path)
        if "pooling_mode" in stored or _OLD_KEYS.keys() & stored.keys():
            return path
    return None


def stored_poolings(stored: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return what the keys of a pooling's config.json say: ``pooling_mode``, and the older booleans."""
    found: dict[str, tuple[str, ...]] = {}
    if mode := stored.get("pooling_mode"):
        modes = (mode,) if isinstance(mode, str) else tuple(mode)
        found["pooling_mode"] = tuple(_STOCK.get(name, name) for name in modes)
    if _OLD_KEYS.keys() & stored.keys():
        on = tuple(_STOCK[mode] for key, mode in _OLD_KEYS.items() if stored.get(key))
        found["pooling_mode_*"] = on
    return found


def keys_for(mode: str) -> dict[str, Any]:
    """Return the newer and the older keys of a pooling's config.json for one of sentence-transformers' modes."""
    return {"pooling_mode": mode, **{key: name == mode for key, name in _OLD_KEYS.items()}}


def check_pooling(subject: Subject) -> list[Check]:
    """Return the checks of the pooling in use, and of prompts in it."""
    if reason := subject.blocked:
        return [Check("pooling", "skip", reason), Check("prompt", "skip", reason)]
    return [_check_candidates(subject), _check_prompt(subject)]


def _check_candidates(subject: Subject) -> Check:
    found, claimed = find_pooling(subject), claimed_pooling(subject)
    design = _design(subject)
    if design is not None and claimed is None:
        return Check("pooling", "pass", f"{design.pooling_text}: no fixed pooling to compare with", "", "", {})
    wanted = " + ".join(claimed) if claimed else ""
    if found is None:
        return Check("pooling", "skip", "the model gives no token states of the embedding's width", wanted)
    measured = {"pooling": found.text or None, "claimed": wanted or None, "distance": found.nearest[1]}
    shown = found.text or f"none of the {len(CANDIDATES)} that are compared; nearest is {found.nearest[0]}"
    if claimed is not None and not found.is_one_of(claimed):
        hint = "the module computes something else than its configuration says: correct the configuration or the code"
        return Check("pooling", "fail", shown, f"{wanted}, as its configuration says", hint, measured)
    path = pooling_path(subject)
    stored = stored_poolings(subject.settings(path)) if path else {}
    if wrong := {key: said for key, said in stored.items() if not found.is_one_of(said)}:
        said = ", ".join(f"{key}: {' + '.join(words) or 'none'}" for key, words in wrong.items())
        hint = f"make both kinds of keys in {path} say {found.text}: TEI and vLLM read the older ones"
        return Check("pooling", "fail", f"{shown} is in use, but {path} also says {said}", wanted, hint, measured)
    if not found.text:
        shown += "; the configuration names none"
    return Check("pooling", "pass", shown, wanted, "", measured)


def _check_prompt(subject: Subject) -> Check:
    module, design = _pooling_module(subject), _design(subject)
    is_left_out = design.skips_prompt if design is not None else not getattr(module, "include_prompt", True)
    prompt = max((p for p in subject.model.prompts.values() if p), key=len, default=PROMPT)
    claimed = claimed_pooling(subject)
    if claimed is None or not set(claimed) & {"mean", "weighted mean", "max", "first"}:
        kind = "reads the last token only" if claimed else "is not one whose tokens can be counted"
        return Check("prompt", "skip", f"the pooling {kind}")
    skipped = _skipped(subject, prompt, claimed)
    if skipped is None:
        return Check("prompt", "skip", "the pooled tokens match no part of a text with a prompt; see pooling")
    measured = {"prompt": prompt, "num_skipped": skipped, "is_left_out": skipped > 0, "is_claimed": is_left_out}
    shown = f"{skipped} tokens are left out" if skipped else "pooled like the text"
    if (skipped > 0) == is_left_out:
        return Check("prompt", "pass", shown, "", "", measured)
    wanted = "left out, as include_prompt: false says" if is_left_out else "pooled, as include_prompt says"
    hint = "pass it as prompt=, not inside the text; chat templates hide where it ends"
    return Check("prompt", "fail", shown, wanted, hint, measured)


def _skipped(subject: Subject, prompt: str, claimed: tuple[str, ...]) -> int | None:
    """Return how many tokens at the start are not pooled when a text has a prompt; None if no number fits."""
    (trace,), is_exact = subject.traces(MIXED[1:2], prompt)
    tolerance = _SAME if is_exact else _SAME_ROUNDED
    if trace.tokens is None or not trace.stages:
        return None
    parts = _parts(trace.pooled, trace.tokens.shape[1])
    place = next(i for i, name in enumerate(claimed) if name in ("mean", "weighted mean", "max", "first"))
    if len(parts) != len(claimed):
        return None
    for start in range(len(trace.tokens) - 1):
        kept = trace.tokens[start:]
        # sentence-transformers keeps the positions' weights when it leaves a prompt out; poolwise counts from the text.
        tries = [CANDIDATES[claimed[place]](kept)]
        if claimed[place] == "weighted mean":
            tries.append(_weighted(kept, start))
        if any(_angle(parts[place], vector) <= tolerance for vector in tries):
            return start
    return None
