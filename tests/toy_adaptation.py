"""A tiny base with an LM head and a short adaptation of it: what every test of adapting a base starts from."""

from __future__ import annotations

from pathlib import Path

from poolwise.config import Adapt, TrainConfig
from poolwise.records import Adaptation
from poolwise.training import adaptation_training, build_adaptable, train_adaptation
from tiny_models import TEXTS

TOY = {"steps": 4, "batch_size": 3, "max_tokens": 16, "learning_rate": 1e-2, "mask_share": 0.3, "mask_token": "<unk>"}
TRAIN = {"precision": "fp32", "save_steps": 2}


def toy_adapt(**changes: object) -> Adapt:
    """Return settings for an adaptation of a second."""
    return Adapt.model_validate(TOY | changes)


def toy_adaptable(base: str, adapt: Adapt, **train: object):
    """Return the base and the settings that its steps run with."""
    config = adaptation_training(adapt, TrainConfig.model_validate(TRAIN | train))
    return build_adaptable(base, adapt, config), config


def toy_adapted(base: str, out: Path, adapt: Adapt | None = None, *, on_step=None, key: str = "k", **train: object):
    """Return the base after its adaptation, and what that took."""
    adapt = adapt or toy_adapt()
    adaptable, config = toy_adaptable(base, adapt, **train)
    cost = train_adaptation(adaptable, TEXTS, adapt, config, out=out, key=key, on_step=on_step)
    return adaptable, cost


def toy_record(base: str = "toy") -> Adaptation:
    """Return what stands in the folder of an adapted base."""
    return Adaptation(
        key="k", base=base, steps=4, method="lora", mask_share=0.3, mask_token="<unk>", num_texts=len(TEXTS), seed=0
    )
