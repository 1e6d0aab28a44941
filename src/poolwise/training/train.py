"""One design trained on one schedule: the same batches, seeds and loss whatever the design."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sentence_transformers import SentenceTransformer

from poolwise.config import Prompts, TrainConfig
from poolwise.data import Schedule, Triple
from poolwise.errors import ConfigError
from poolwise.models import design_of
from poolwise.records import Category, Cost, TrainingStep
from poolwise.storage.fingerprints import fingerprint
from poolwise.training.batches import TripleCollator, source_prompts
from poolwise.training.losses import build_loss
from poolwise.training.optimizer import trainable_parameters
from poolwise.training.run import Hints, run_steps

logger = logging.getLogger(__name__)


def train_model(
    model: SentenceTransformer,
    triples: Sequence[Triple],
    schedule: Schedule,
    config: TrainConfig,
    *,
    out: Path,
    seed: int,
    prompts: Mapping[Category, Prompts],
    source_category: Mapping[str, Category],
    on_step: Callable[[TrainingStep], None] | None = None,
    resume: bool = True,
) -> Cost:
    """Train ``model`` in place on the first ``config.steps`` batches, and return what it took.

    Writes ``training.jsonl`` into ``out``, and checkpoints below ``out/checkpoints`` that are gone when it returns.
    A model with nothing to train, or a run of no steps, is left as it is. SIGINT and SIGTERM wait for the step to
    end and its checkpoint to be written.

    Args:
        model: from ``build_model`` with the same settings; its forward decides the precision.
        prompts: by category; ``source_category`` says which source is trained with which.
        on_step: called after every step; an exception it raises ends training, and a later call resumes.
        resume: go on from the checkpoint of an interrupted run; False starts afresh.
    Law: stopped and resumed, the weights are bit for bit those of a run that was not stopped.
    Raises: ModelError where loss or gradient is not finite, or memory runs out; DataError where the schedule is not
        of these triples; ConfigError where it is too short, or the checkpoint is of another run.
    """
    schedule.check_data(triples)
    if len(schedule.batches) < config.steps:
        raise ConfigError(
            f"the batch schedule has {len(schedule.batches)} steps",
            f"train.steps is {config.steps}",
            "build the schedule with as many steps",
        )
    by_source = source_prompts(prompts, source_category)
    if config.steps == 0 or not trainable_parameters(model):
        logger.info("%s: not trained (%s)", design_of(model), "0 steps" if not config.steps else "nothing to train")
    hints = Hints(
        remedy=f"lower train.learning_rate ({config.learning_rate:g}) or train.head_learning_rate "
        f"({config.head_learning_rate:g}), or set train.precision: fp32",
        smaller=f"lower train.mini_batch_size ({config.mini_batch_size}; below batch_size {config.batch_size} it "
        f"bounds the memory) or train.max_tokens ({config.max_tokens}), or set train.gradient_checkpointing: true",
    )
    collator, loss = TripleCollator(model, triples, by_source), build_loss(model, config)
    return run_steps(
        model,
        config,
        schedule.batches,
        collator,
        loss,
        hints,
        run_hash=_run_hash(model, schedule, config, seed, by_source),
        out=out,
        seed=seed,
        on_step=on_step,
        resume=resume,
    )


def _run_hash(
    model: SentenceTransformer, schedule: Schedule, config: TrainConfig, seed: int, prompts: Mapping[str, Prompts]
) -> str:
    """Return what two calls must share for one to go on where the other stopped."""
    return fingerprint(
        {
            "design": str(design_of(model)),
            "parameters": {name: list(p.shape) for name, p in trainable_parameters(model).items()},
            "schedule": schedule.hash,
            "config": config.model_dump(mode="json", exclude={"save_steps"}),
            "seed": seed,
            "prompts": [prompts[source].model_dump() for source in sorted(prompts)],
        }
    )
