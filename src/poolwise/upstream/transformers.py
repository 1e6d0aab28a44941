"""Private parts of transformers, checked against 5.23.0.

- ``config._attn_implementation``: the attention implementation of a model. Without it ``kernels.packing.use_packing``
  cannot tell whether a model can read packed texts, and ``kernels.masks`` not which kind of mask it takes.
- ``integrations.sdpa_attention.sdpa_attention_forward`` and ``masking_utils.sdpa_mask``: attention and mask of padded
  batches. Without them ``kernels.packing.packed_attention`` cannot read padded batches.
- ``pytorch_utils.Conv1D``: the linear layer of GPT-2. Without it ``models.adapter.add_lora`` misses those layers.
- ``TrainingArguments._n_gpu``: the number of GPUs on which a trainer replicates a model. Without it a machine with
  several GPUs would split the batches of ``training.trainer.ScheduleTrainer``.
"""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.pytorch_utils import Conv1D

__all__ = ["Conv1D", "attention_in_use", "sdpa_attention_forward", "sdpa_mask", "use_one_gpu"]


def attention_in_use(config: PreTrainedConfig) -> str:
    """Return the name of the attention implementation in a configuration: ``sdpa``, ``eager``, ..."""
    return str(config._attn_implementation)


def use_one_gpu(arguments: Any) -> None:
    """Limit a trainer with these arguments to one GPU, however many the machine has."""
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1
