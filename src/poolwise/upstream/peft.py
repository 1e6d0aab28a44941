"""Undocumented parts of PEFT, checked against 0.21.2.

- ``_hf_peft_config_loaded`` and ``peft_config`` of a transformers model: whether it saves an adapter. If it is renamed,
  an imported model would be saved as an adapter without weights.
- ``peft.tuners.lora.Linear``, a linear layer with its adapters, and its attributes ``merged``, ``lora_variant``,
  ``fan_in_fan_out``, ``lora_A``, ``lora_B``, ``lora_bias``, ``lora_dropout`` and ``scaling``. Without them
  ``kernels.fused_training`` cannot fuse adapted layers, or fails.
"""

from __future__ import annotations

from peft.tuners.lora import Linear as LoraLinear
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

__all__ = ["LoraLinear", "adapter_settings", "forget_adapter"]


def adapter_settings(module: nn.Module) -> tuple[object, ...]:
    """Return a layer's active, disabled and merged adapters and their scaling; () for layers without adapters."""
    if not isinstance(module, BaseTunerLayer):
        return ()
    scaling = tuple(getattr(module, "scaling", {}).values())
    return tuple(module.active_adapters), module.disable_adapters, tuple(module.merged_adapters), scaling


def forget_adapter(model: nn.Module) -> None:
    """Let a transformers model whose adapter is merged take another one, and save its weights."""
    model._hf_peft_config_loaded = False  # type: ignore[assignment]
    del model.peft_config
