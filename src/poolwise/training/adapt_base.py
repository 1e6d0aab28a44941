"""Adaptation of a base to bidirectional attention: recorded, resumed and stopped like any training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from poolwise.base_dtypes import HeldDtype
from poolwise.config import Adapt, TrainConfig
from poolwise.models import AdaptableBase, derive_seed
from poolwise.records import Cost, TrainingStep
from poolwise.training.masked import MaskedPrediction, MaskedTexts, draw_texts
from poolwise.training.run import Hints, run_steps


def adaptation_training(adapt: Adapt, train: TrainConfig) -> TrainConfig:
    """Return the settings of an adaptation: those of training, overridden by its own.

    A base that will be frozen is adapted with LoRA, since "frozen" refers to the training afterwards.
    """
    own = ("steps", "batch_size", "learning_rate", "max_tokens", "lora_rank", "lora_alpha")
    update: dict[str, object] = {name: getattr(adapt, name) for name in own}
    update |= {"method": "full" if train.method == "full" else "lora", "lora_dropout": 0.0}
    # A trained LM head is part of the base, so it has the base's learning rate.
    return train.model_copy(update=update | {"head_learning_rate": adapt.learning_rate})


def build_adaptable(
    base: str,
    adapt: Adapt,
    config: TrainConfig,
    base_dtype: HeldDtype = "fp32",
    *,
    split_special_tokens: bool = True,
) -> AdaptableBase:
    """Return the base at the start of an adaptation; ``config`` comes from ``adaptation_training``."""
    return AdaptableBase(
        base,
        # A seed of its own: designs with the same seed must not start from the same LoRA directions.
        seed=derive_seed(adapt.seed, "adaptation"),
        method=config.method,
        lora_rank=config.lora_rank,
        lora_alpha=config.lora_alpha,
        max_tokens=config.max_tokens,
        precision=config.precision,
        base_dtype=base_dtype,
        mask_token=adapt.mask_token,
        split_special_tokens=split_special_tokens,
        gradient_checkpointing=config.gradient_checkpointing,
    )


def train_adaptation(
    base: AdaptableBase,
    texts: Sequence[str],
    adapt: Adapt,
    config: TrainConfig,
    *,
    out: Path,
    key: str,
    on_step: Callable[[TrainingStep], None] | None = None,
) -> Cost:
    """Train ``base`` in place to predict masked tokens, and return the cost; files and stops as in ``train_model``.

    Args:
        config: from ``adaptation_training``.
        key: hash of everything that can change the result; a checkpoint with another key is not resumed.
    Law: after a stop and a resume, the weights are bit for bit those of a run without a stop.
    Raises: ModelError if loss or gradient is not finite, or memory runs out; DataError if no text has a token to mask;
        ConfigError if the checkpoint belongs to another run.
    """
    backbone, size = base.model[0], adapt.batch_size
    draws = draw_texts(backbone, texts, adapt.steps * size, adapt.seed)
    collator = MaskedTexts(backbone, texts, draws, mask_id=base.mask_id, mask_share=adapt.mask_share, seed=adapt.seed)
    batches = [range(start, start + size) for start in range(0, len(draws), size)]
    hints = Hints(
        remedy=f"lower adapt.learning_rate ({adapt.learning_rate:g}), or set train.precision: fp32",
        smaller=f"lower adapt.batch_size ({size}) or adapt.max_tokens ({adapt.max_tokens}), "
        "or set train.gradient_checkpointing: true",
    )
    loss = MaskedPrediction(base.model)
    return run_steps(
        base.model,
        config,
        batches,
        collator,
        loss,
        hints,
        run_hash=key,
        out=out,
        seed=adapt.seed,
        on_step=on_step,
        smaller_loss=lambda rows: MaskedPrediction(base.model, rows),
    )
