"""LoRA adapters on every linear layer of the decoder: own initialisation seed, weights always in fp32."""

from __future__ import annotations

from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from poolwise.errors import ModelError, unreadable
from poolwise.kernels.layers import decoder_layers
from poolwise.kernels.narrow import looks_wide
from poolwise.models.finite import require_finite
from poolwise.models.seeds import seeded
from poolwise.upstream.transformers import Conv1D

WEIGHTS = "adapter_model.safetensors"
# PEFT's prefix of every weight name, so that PeftModel.from_pretrained reads our folders too.
_PREFIX = "base_model.model."


def add_lora(model: PreTrainedModel, *, rank: int, alpha: int, dropout: float, seed: int) -> None:
    """Freeze a base and add a new adapter to all linear layers of its decoder.

    Law: the adapter's initial weights depend only on base, rank and seed, not on pooling or attention.
    """
    linear = {
        name: module for name, module in decoder_layers(model).named_modules() if isinstance(module, nn.Linear | Conv1D)
    }
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=sorted({name.rsplit(".", 1)[-1] for name in linear}),
        # GPT-2 stores its matrices transposed.
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in linear.values()),
    )
    with seeded(seed, "lora"):
        _inject(model, config)


def _inject(model: PreTrainedModel, config: LoraConfig) -> None:
    with looks_wide(model):  # PEFT rounds an adapter's start to the dtype of the base
        model.add_adapter(config)
    for parameter in model.parameters():
        if parameter.requires_grad:
            # bf16 would round small updates away.
            parameter.data = parameter.data.float()


def save_adapter(model: PreTrainedModel, folder: Path, base: str) -> None:
    """Write the adapter in PEFT's format, with ``base`` as the name of its base, and a hub commit as its revision."""
    config = model.peft_config["default"]
    name, _, commit = base.partition("@")
    config.base_model_name_or_path, config.revision = name, commit or None
    config.save_pretrained(str(folder))
    # By default PEFT asks the hub whether the base's vocabulary grew.
    state = get_peft_model_state_dict(model, adapter_name="default", save_embedding_layers=False)
    save_file({_PREFIX + name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}, folder / WEIGHTS)


def add_trained_lora(
    model: PreTrainedModel, config: LoraConfig, weights: dict[str, Tensor], modules: list[str], folder: Path
) -> None:
    """Add an adapter that others trained to a base.

    Args:
        weights: by the names of the base's modules, with ``.lora_A.weight`` or ``.lora_B.weight``.
        modules: the names of the adapted modules, which replace the patterns of the configuration.
        folder: where it comes from, for messages.
    Raises: ModelError if PEFT cannot add it.
    """
    config.target_modules = set(modules)
    config.exclude_modules = config.layers_to_transform = config.layers_pattern = None
    config.inference_mode = False
    state = torch.get_rng_state()
    try:
        _inject(model, config)
        result = set_peft_model_state_dict(model, weights, adapter_name="default")
    except Exception as error:
        raise unreadable(f"cannot add the adapter in {folder}", error, "wanted an adapter for this base") from error
    finally:
        torch.set_rng_state(state)
    _require_complete([*result.missing_keys], [*result.unexpected_keys], folder)


def require_mergeable(config: LoraConfig, folder: Path) -> None:
    """Raise ModelError for an adapter that acts only after some tokens, which cannot be merged into weights."""
    if getattr(config, "alora_invocation_tokens", None) is not None:
        raise ModelError(f"the adapter in {folder} has alora_invocation_tokens", "wanted LoRA that acts on every token")


def _require_complete(missing: list[str], unexpected: list[str], folder: Path) -> None:
    missing = [name for name in missing if "lora_" in name]
    if bad := sorted([*missing, *unexpected]):
        raise ModelError(f"the adapter in {folder} does not fit its base: {len(bad)} weights, the first is {bad[0]}")


def load_adapter(model: PreTrainedModel, folder: Path) -> None:
    """Add the adapter saved in ``folder`` to its base, ready for encoding or further training.

    Raises: ModelError if the adapter is missing or unreadable, or belongs to another base.
    """
    state = torch.get_rng_state()
    try:
        config = LoraConfig.from_pretrained(str(folder))
        require_mergeable(config, folder)
        _inject(model, config)
        weights = {name.removeprefix(_PREFIX): tensor for name, tensor in load_file(folder / WEIGHTS).items()}
        require_finite(weights.items(), f"the adapter in {folder}")
        result = set_peft_model_state_dict(model, weights, adapter_name="default")
    except Exception as error:  # PEFT checks no types: a setting of another one fails wherever it is first used
        raise unreadable(
            f"cannot read the adapter in {folder}",
            error,
            f"wanted adapter_config.json and {WEIGHTS} of an adapter for this base",
            "save the model again",
        ) from error
    finally:
        torch.set_rng_state(state)
    _require_complete([*result.missing_keys], [*result.unexpected_keys], folder)
