"""LoRA adapters that others trained: read, compared with the base they are put on, and added to it."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from poolwise.errors import ModelError, collect, one_line, unreadable
from poolwise.imports.layouts import ADAPTER, read_settings
from poolwise.models.adapter import add_trained_lora, require_mergeable
from poolwise.upstream.transformers import Conv1D

_WEIGHT = re.compile(r"(?P<module>.+)\.lora_(?P<side>[AB])\.weight")
_PREFIXES = ("base_model.model.", "base_model.", "model.")


@dataclass(frozen=True)
class LoraFolder:
    """An adapter on disk: its settings, and the name of the base that it was trained on."""

    folder: Path
    config: LoraConfig
    base: str


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a pickled file; the pickle may hold nothing else, so it cannot run code.

    Raises: ModelError if it holds other objects or is no such file.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, OSError, RuntimeError, ValueError, EOFError) as error:
        raise ModelError(
            f"cannot read {path} as weights only: {one_line(error)}",
            "wanted a file with tensors and nothing else; other pickles can run code and are not opened",
            "save it again with torch.save(module.state_dict(), path)",
        ) from error
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise ModelError(f"{path} holds a {type(found).__name__}", "wanted a state dict: tensors by name")
    return dict(found)


def read_lora(folder: Path) -> LoraFolder:
    """Return the settings of the adapter in a folder. Raises: ModelError if it has none, or no plain LoRA."""
    raw = read_settings(folder / ADAPTER)
    if not raw:
        raise ModelError(f"{folder} has no {ADAPTER}", "wanted the folder of a LoRA adapter, as PEFT saves it")
    odd = {
        "peft_type": raw.get("peft_type", "LORA") != "LORA",
        "use_dora": bool(raw.get("use_dora")),
        "bias": raw.get("bias", "none") != "none",
        "modules_to_save": bool(raw.get("modules_to_save")),
        # These starts change the weights of the base, which are then not those that its name says.
        "init_lora_weights": raw.get("init_lora_weights") not in (True, False, None, "gaussian", "orthogonal"),
    }
    if named := [f"{key}={raw.get(key)}" for key, is_odd in odd.items() if is_odd]:
        raise ModelError(f"the adapter in {folder} has {', '.join(named)}", "wanted plain LoRA on linear layers")
    try:
        config = LoraConfig.from_pretrained(str(folder))
    except Exception as error:
        raise unreadable(f"cannot read {folder / ADAPTER}", error, "wanted what PEFT saves") from error
    require_mergeable(config, folder)
    if not isinstance(config.rank_pattern, dict):
        raise ModelError(f"rank_pattern in {folder / ADAPTER} is {config.rank_pattern!r}", "wanted ranks by module")
    return LoraFolder(folder, config, str(raw.get("base_model_name_or_path") or ""))


def _read_weights(folder: Path) -> dict[str, Tensor]:
    safe, pickled = folder / "adapter_model.safetensors", folder / "adapter_model.bin"
    if safe.is_file():
        try:
            return load_file(safe)
        except (OSError, SafetensorError) as error:
            raise ModelError(f"cannot read {safe}: {error}", "wanted the weights of the adapter") from error
    if pickled.is_file():
        return read_tensors(pickled)
    raise ModelError(f"{folder} has no {safe.name} and no {pickled.name}", "wanted the weights of the adapter")


def put_on(model: PreTrainedModel, lora: LoraFolder, base: str) -> None:
    """Add a trained adapter to its base, every weight of it compared with the module that it belongs to.

    Args:
        base: the base's name, for messages.
    Raises: ModelError that lists what does not fit: modules that the base does not have, ranks, widths.
    """
    linear = {n: module for n, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D)}
    weights, problems = _named_like(_read_weights(lora.folder), linear)
    for name, tensor in weights.items():
        problems += _misfit(name, tensor, linear, lora.config)
    sides = {m["module"]: set[str]() for name in weights if (m := _WEIGHT.fullmatch(name))}
    for name in weights:
        if match := _WEIGHT.fullmatch(name):
            sides[match["module"]].add(match["side"])
    problems += [f"{module} has only lora_{min(found)}" for module, found in sides.items() if len(found) == 1]
    if not weights and not problems:
        problems = ["it has no weights"]
    hint = f"give the base it was trained on with --base{f' (it names {lora.base})' if lora.base else ''}"
    collect(problems, ModelError, f"the adapter in {lora.folder} does not fit base {base!r}", hint)
    add_trained_lora(model, lora.config, weights, sorted(sides), lora.folder)


def _named_like(weights: Mapping[str, Tensor], linear: Mapping[str, nn.Module]) -> tuple[dict[str, Tensor], list[str]]:
    """Return the weights by the module names of the base, which PEFT and heads for generation put prefixes before."""
    found: dict[str, Tensor] = {}
    problems = []
    for name, tensor in weights.items():
        own = name
        while _module(own) not in linear and (prefix := next((p for p in _PREFIXES if own.startswith(p)), "")):
            own = own.removeprefix(prefix)
        if _module(own) in linear:
            found[own] = tensor
        else:
            problems.append(f"{name} ({tuple(tensor.shape)}) belongs to no linear layer of the base")
    return found, problems


def _module(name: str) -> str:
    match = _WEIGHT.fullmatch(name)
    return match["module"] if match else ""


def _misfit(name: str, tensor: Tensor, linear: Mapping[str, nn.Module], config: LoraConfig) -> list[str]:
    match = _WEIGHT.fullmatch(name)
    assert match is not None, "names were checked before"
    module: Any = linear[match["module"]]
    is_turned = isinstance(module, Conv1D)
    width_in, width_out = module.weight.shape if is_turned else reversed(module.weight.shape)
    rank = config.rank_pattern.get(match["module"], config.r)
    wanted = (rank, width_in) if match["side"] == "A" else (width_out, rank)
    if tuple(tensor.shape) == wanted:
        return []
    return [f"{name} is {tuple(tensor.shape)}; wanted {wanted} with rank {rank} on this base"]
