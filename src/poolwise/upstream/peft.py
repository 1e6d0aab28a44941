"""PEFT's undocumented parts, read in 0.21.2.

- ``peft.tuners.lora.Linear``, a linear layer with its adapters, and of it ``merged``, ``lora_variant``,
  ``fan_in_fan_out``, ``lora_A``, ``lora_B``, ``lora_bias``, ``lora_dropout`` and ``scaling``. Without them
  ``kernels.fused_training`` computes adapted layers step by step, or not at all.
"""

from __future__ import annotations

from peft.tuners.lora import Linear as LoraLinear

__all__ = ["LoraLinear"]
