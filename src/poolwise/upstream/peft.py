"""Undocumented parts of PEFT, checked against 0.21.2.

- ``peft.tuners.lora.Linear``, a linear layer with its adapters, and its attributes ``merged``, ``lora_variant``,
  ``fan_in_fan_out``, ``lora_A``, ``lora_B``, ``lora_bias``, ``lora_dropout`` and ``scaling``. Without them
  ``kernels.fused_training`` cannot fuse adapted layers, or fails.
"""

from __future__ import annotations

from peft.tuners.lora import Linear as LoraLinear
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

__all__ = ["LoraLinear", "adapter_settings"]


def adapter_settings(module: nn.Module) -> tuple[object, ...]:
    """Return a layer's active, disabled and merged adapters and their scaling; () for layers without adapters."""
    if not isinstance(module, BaseTunerLayer):
        return ()
    scaling = tuple(getattr(module, "scaling", {}).values())
    return tuple(module.active_adapters), module.disable_adapters, tuple(module.merged_adapters), scaling
