"""A base in, the base adapted to bidirectional attention out: recorded, resumed and stopped like any training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from poolwise.config import Adapt, TrainConfig
from poolwise.models import AdaptableBase, derive_seed
from poolwise.records import Cost, TrainingStep
from poolwise.training.masked import MaskedPrediction, MaskedTexts, draw_texts
from poolwise.training.run import Hints, run_steps


def adaptation_training(adapt: Adapt, train: TrainConfig) -> TrainConfig:
    """Return the settings the steps of an adaptation run with: those of training, its own in their place.

    A frozen base is adapted through LoRA: frozen is what it is afterwards.
    """
    own = ("steps", "batch_size", "learning_rate", "max_tokens", "lora_rank", "lora_alpha")
    update: dict[str, object] = {name: getattr(adapt, name) for name in own}
    update |= {"method": "full" if train.method == "full" else "lora", "lora_dropout": 0.0}
    # An LM head that trains is part of the base, and so is its learning rate.
    return train.model_copy(update=update | {"head_learning_rate": adapt.learning_rate})


def build_adaptable(base: str, adapt: Adapt, config: TrainConfig) -> AdaptableBase:
    """Return the base as an adaptation starts from it. Args: config as ``adaptation_training`` gives it."""
    return AdaptableBase(
        base,
        # Of a component of its own: a design of the same seed must not start in the directions this one trained.
        seed=derive_seed(adapt.seed, "adaptation"),
        method=config.method,
        lora_rank=config.lora_rank,
        lora_alpha=config.lora_alpha,
        max_tokens=config.max_tokens,
        precision=config.precision,
        mask_token=adapt.mask_token,
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
    """Train ``base`` in place to predict masked tokens, and return what it took; files and stops as ``train_model``.

    Args:
        config: as ``adaptation_training`` gives it.
        key: hash of everything that can change the result; a checkpoint of another is not resumed from.
    Law: stopped and resumed, the weights are bit for bit those of a run that was not stopped.
    Raises: ModelError where loss or gradient is not finite, or memory runs out; DataError where no text will do.
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
        base.model, config, batches, collator, loss, hints, run_hash=key, out=out, seed=adapt.seed, on_step=on_step
    )
