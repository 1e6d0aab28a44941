"""A tiny base, toy triples and one call that trains on them: what every training test starts from."""

from __future__ import annotations

import itertools
from pathlib import Path

from poolwise.config import TrainConfig
from poolwise.data import Triple, build_schedule
from poolwise.models import build_model
from poolwise.training import train_model
from tiny_models import WORDS

SOURCE = "toy.jsonl"
TOY = {"steps": 6, "batch_size": 4, "mini_batch_size": 8, "max_tokens": 16, "precision": "fp32", "save_steps": 2}


def toy_triples(count: int = 24, negatives: int = 1) -> list[Triple]:
    """Return triples whose positive is the query's words in another order, and whose negatives are other words."""
    words = [word for word in WORDS if word.isalpha()]
    combinations = list(itertools.combinations(words, 3))
    combinations = combinations[:: len(combinations) // (count * 4)]
    triples = []
    for i in range(count):
        others = combinations[count : count * (1 + negatives)]
        texts = tuple(" ".join(other) for other in others[i * negatives : (i + 1) * negatives])
        a, b, c = combinations[i]
        triples.append(Triple(f"{a} {b} {c}", f"{c} {a} {b}", texts, SOURCE, i + 1))
    return triples


def toy_config(**changes: object) -> TrainConfig:
    """Return settings for a run of some seconds."""
    return TrainConfig.model_validate(TOY | changes)


def toy_model(design: str, base: str, config: TrainConfig, seed: int = 0):
    """Return a model built as a study builds it."""
    return build_model(
        design,
        base,
        seed=seed,
        method=config.method,
        lora_dropout=config.lora_dropout,
        max_tokens=config.max_tokens,
        precision=config.precision,
        gradient_checkpointing=config.gradient_checkpointing,
    )


def toy_train(model, config: TrainConfig, out: Path, *, triples=None, schedule=None, seed=0, **options):
    """Train on the toy triples; returns the cost."""
    triples = toy_triples() if triples is None else triples
    schedule = schedule or build_schedule(triples, steps=config.steps, batch_size=config.batch_size, seed=seed)
    defaults = {"prompts": {}, "source_category": {SOURCE: "retrieval"}}
    return train_model(model, triples, schedule, config, out=out, seed=seed, **defaults | options)


def weights(model) -> dict:
    """Return copies of all weights by name."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


class StopError(Exception):
    pass


def stop_at(number):
    def on_step(step):
        if step.step == number:
            raise StopError

    return on_step
