"""transformers' private parts, read in 5.23.0.

- ``config._attn_implementation``: which attention a model runs with. Without it ``kernels.packing.use_packing`` cannot
  tell whether a model may read packed texts, nor ``kernels.masks`` which kind of mask it takes.
- ``integrations.sdpa_attention.sdpa_attention_forward`` and ``masking_utils.sdpa_mask``: attention and mask of padded
  batches. Without them ``kernels.packing.packed_attention`` has none for batches that are not packed.
- ``pytorch_utils.Conv1D``: the linear layer of GPT-2. Without it ``models.adapter.add_lora`` misses those layers.
- ``TrainingArguments._n_gpu``: how many GPUs a trainer replicates a model on. Without it a machine with several GPUs
  would split the batches of ``training.trainer.ScheduleTrainer``.
"""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.pytorch_utils import Conv1D

__all__ = ["Conv1D", "attention_in_use", "sdpa_attention_forward", "sdpa_mask", "use_one_gpu"]


def attention_in_use(config: PreTrainedConfig) -> str:
    """Return the name of the attention that a model with this configuration runs with: ``sdpa``, ``eager``, ..."""
    return str(config._attn_implementation)


def use_one_gpu(arguments: Any) -> None:
    """Have a trainer with these arguments use one GPU at most, whatever the machine has."""
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1
