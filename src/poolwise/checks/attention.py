"""Checks of attention: what the model claims, what it does in each layer, and whether all kernels do the same."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from transformers.utils import is_flash_attn_2_available

from poolwise.checks.check import Check, Status
from poolwise.checks.reach import LENGTH, PADDING, Reach, kernel_of, measure_reach
from poolwise.checks.subject import Subject, read_modules
from poolwise.errors import ModelError, one_line
from poolwise.models.attention import probe_attention
from poolwise.upstream.transformers import attention_in_use

_KERNELS = ("eager", "sdpa")
_FLASH = "flash_attention_2"
_BIDIRECTIONAL_CLASS = re.compile(r"Bidirectional|Bi(?=[A-Z])|^NVEmbed")
"""Classes of published embedding models whose code is bidirectional: LlamaBiModel, LlamaBidirectionalModel,
MistralBiForMNTP, NVEmbedModel. transformers' own class of the same architecture is causal."""
_KEYS = ("use_bidirectional_attention", "bidirectional", "is_bidirectional")


def claimed_attention(subject: Subject) -> tuple[str, str]:
    """Return the attention that a model claims, and by what; empty texts if it claims none."""
    if subject.backbone is not None:
        return subject.backbone.attention, "the design"
    stored = subject.settings(config_path(subject))
    live = subject.transformer.config
    if (causal := stored.get("is_causal", getattr(live, "is_causal", None))) is not None:
        return ("causal" if causal else "bidirectional"), f"is_causal: {str(bool(causal)).lower()}"
    for key in _KEYS:
        if stored.get(key) in (True, "all"):
            return "bidirectional", f"{key} in config.json"
    classes = stored.get("architectures") or live.architectures or []
    for name in classes:
        if _BIDIRECTIONAL_CLASS.search(name):
            return "bidirectional", f"its class {name}"
        if name.endswith("ForCausalLM"):
            return "causal", f"its class {name}"
    return "", ""


def config_path(subject: Subject) -> str:
    """Return the path of the transformer's config.json below the model's folder."""
    return f"{transformer_path(subject)}config.json"


def transformer_path(subject: Subject) -> str:
    """Return the path of the first module below the model's folder, with a slash, or an empty text for the folder."""
    modules = read_modules(subject.folder) if subject.folder is not None else []
    path = str(modules[0].get("path", "")) if modules else ""
    return f"{path}/" if path else ""


def probe_ids(subject: Subject) -> list[int]:
    """Return ids of ordinary tokens across the vocabulary."""
    size = subject.transformer.config.get_text_config().vocab_size
    special = set(subject.tokenizer.all_special_ids)
    usable = [i for i in range(min(len(subject.tokenizer), size)) if i not in special] or list(range(size))
    wanted = LENGTH + PADDING
    return [usable[i * len(usable) // wanted] for i in range(wanted)]


def check_attention(subject: Subject) -> list[Check]:
    """Return the checks of attention as the model computes, and in other kernels."""
    probe = probe_attention(subject.model)
    reaches, absent = kernel_reaches(subject)
    in_use = attention_in_use(subject.transformer.config)
    reach = reaches.get(in_use)
    claim, source = claimed_attention(subject)
    moved = ", ".join(f"{name.removeprefix('padded_').replace('_', ' ')} {fact}" for name, fact in probe.facts.items())
    attention = probe.attention
    if subject.backbone is None and reach is not None and "mixed" not in (attention, reach.attention):
        attention = reach.attention  # of all layers, where the probe sees the whole
    elif subject.backbone is None and reach is not None:
        attention = "mixed"
    is_right = attention == claim if claim else attention != "mixed"
    layers = f"; {reach}" if reach is not None else "; its layers cannot be read one at a time"
    check = Check(
        "attention",
        "pass" if is_right else "fail",
        f"{attention} (token 0 moved: {moved}){layers}",
        f"{claim} ({source})" if claim else "the same in all layers, with and without padding",
        "" if is_right else _what_to_do(claim, source),
        {"attention": attention, "claimed": claim or None, "claimed_by": source or None, "kernel": in_use},
    )
    return [check, _check_kernels(in_use, reaches, absent)]


def _what_to_do(claim: str, source: str) -> str:
    if claim == "bidirectional" and not source.startswith("is_causal"):
        return "set is_causal: false in config.json; transformers' own class does not know the claim"
    return "try another attention implementation (eager), or use another base"


def kernel_reaches(subject: Subject) -> tuple[dict[str, Reach], dict[str, str]]:
    """Return what layers let a token see, by kernel, and why other kernels could not be tried."""
    transformer = subject.transformer
    in_use = attention_in_use(transformer.config)
    found: dict[str, Reach] = {}
    absent: dict[str, str] = {}
    ids = probe_ids(subject)
    for kernel in dict.fromkeys((in_use, *_KERNELS, _FLASH)):
        if kernel == _FLASH and kernel != in_use and not _has_flash(subject):
            absent[kernel] = "not available here"
            continue
        try:
            with kernel_of(transformer, kernel), subject.in_fp32():
                found[kernel] = measure_reach(transformer, ids)
        except (ValueError, ImportError):
            absent[kernel] = "not in this architecture"
        except RuntimeError as error:
            absent[kernel] = one_line(error)
        except ModelError as error:
            return {}, {kernel: error.got}
    return found, absent


def _has_flash(subject: Subject) -> bool:
    narrow = subject.transformer.dtype in (torch.float16, torch.bfloat16)
    return narrow and subject.model.device.type == "cuda" and bool(is_flash_attn_2_available())


def _check_kernels(in_use: str, reaches: dict[str, Reach], absent: dict[str, str]) -> Check:
    if not reaches:
        return Check("attention kernels", "skip", "its layers cannot be read one at a time")
    groups: dict[str, list[str]] = {}
    for kernel, reach in reaches.items():
        groups.setdefault(str(reach), []).append(kernel)
    shown = "; ".join(f"{_listed(kernels)}: {reach}" for reach, kernels in groups.items())
    without = "".join(f"; {kernel}: {reason}" for kernel, reason in absent.items())
    status: Status = "pass" if len(groups) == 1 else "warn"
    hint = "" if status == "pass" else f"load the model with attn_implementation={in_use!r} wherever it is used"
    measured = {kernel: reach.attention for kernel, reach in reaches.items()}
    return Check("attention kernels", status, shown + without, "the same in all", hint, measured)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
