"""Training of one design on a batch schedule: same batches, seeds and loss for every design."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from sentence_transformers import SentenceTransformer

from poolwise.config import Prompts, TrainConfig, hashed_training
from poolwise.data import Schedule, Triple
from poolwise.errors import ConfigError
from poolwise.models import design_of
from poolwise.ranks import current_ranks
from poolwise.records import Category, Cost, TrainingStep
from poolwise.storage.fingerprints import fingerprint
from poolwise.training.batches import TripleCollator, source_prompts
from poolwise.training.losses import build_loss
from poolwise.training.optimizer import trainable_parameters
from poolwise.training.run import Hints, run_steps
from poolwise.training.shards import sharded

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
    dev_score: Callable[[], float] | None = None,
    device: str | None = None,
) -> Cost:
    """Train ``model`` in place on the first ``config.steps`` batches, and return the cost.

    With ``config.early_stopping`` the model has the weights of its best look at the end, and ``looks.json`` in ``out``
    holds the scores.

    Writes ``training.jsonl`` into ``out``, and checkpoints into ``out/checkpoints``, which are deleted at the end. A
    model without trainable parameters, or with 0 steps, is not changed. SIGINT and SIGTERM take effect after the
    current step and its checkpoint.

    Args:
        model: from ``build_model`` with the same settings; its forward determines the precision.
        prompts: prompts by category; ``source_category`` gives each source's category.
        on_step: called after every step; an exception from it ends training, and a later call resumes.
        dev_score: returns the score of the model on dev tasks during training; needed for early stopping, higher is
            better.
        resume: resume from the checkpoint of an interrupted run; False starts again.
        device: where the parts of a model are with ``config.shard``; None is a GPU if there is one. The model itself is
            in CPU memory then, and only rank 0's is trained in the end.
    Law: after a stop and a resume, the weights are bit for bit those of a run without a stop, by the same number of
    processes. Without dropout, any number of processes gives the same weights, up to rounding.
    If memory runs out in a step and one process trains, the step is repeated, and the training goes on, with half the
    ``mini_batch_size``; the gradient stays the same, up to rounding and the draws of dropout. A warning says so.

    Raises: ModelError if loss or gradient is not finite, or one row at a time needs too much memory; DataError if the
        schedule was made for other triples; ConfigError if it is too short, a batch has fewer rows than there are
        processes, or the checkpoint belongs to another run.
    """
    schedule.check_data(triples)
    if len(schedule.batches) < config.steps:
        raise ConfigError(
            f"the batch schedule has {len(schedule.batches)} steps",
            f"wanted at least {config.steps}, as train.steps says",
            "build the schedule with as many steps",
        )
    by_source = source_prompts(prompts, source_category)
    if config.steps == 0 or not trainable_parameters(model):
        logger.info("%s: not trained (%s)", design_of(model), "0 steps" if not config.steps else "nothing to train")
    hints = Hints(
        remedy=f"lower train.learning_rate ({config.learning_rate:g}) or train.head_learning_rate "
        f"({config.head_learning_rate:g}), or set train.precision: fp32, and give another --out",
        smaller=f"lower train.mini_batch_size ({config.mini_batch_size}; below batch_size {config.batch_size} it "
        f"bounds the memory) or train.max_tokens ({config.max_tokens}), or set train.gradient_checkpointing: true",
    )
    run_hash = _run_hash(model, schedule, config, seed, by_source)
    with _parts_of(model, config, device) as trained:
        return run_steps(
            trained,
            config,
            schedule.batches,
            TripleCollator(trained, triples, by_source),
            build_loss(trained, config),
            hints,
            run_hash=run_hash,
            out=out,
            seed=seed,
            on_step=on_step,
            resume=resume,
            dev_score=dev_score,
            smaller_loss=lambda rows: build_loss(trained, config.model_copy(update={"mini_batch_size": rows})),
        )


def _parts_of(
    model: SentenceTransformer, config: TrainConfig, device: str | None
) -> AbstractContextManager[SentenceTransformer]:
    """Return the model to train: sharded if the settings and the ranks ask for it and there is something to train."""
    is_trained = config.steps > 0 and bool(trainable_parameters(model))
    return sharded(model, device) if is_trained and shares_weights(config) else nullcontext(model)


def shares_weights(config: TrainConfig) -> bool:
    """Return whether a training with ``config`` shares the weights out over the ranks; a process alone has them all."""
    return config.shard and current_ranks().size > 1


def _run_hash(
    model: SentenceTransformer, schedule: Schedule, config: TrainConfig, seed: int, prompts: Mapping[str, Prompts]
) -> str:
    """Return a hash of everything that must be equal for one call to resume another."""
    return fingerprint(
        {
            "design": str(design_of(model)),
            "parameters": {name: list(p.shape) for name, p in trainable_parameters(model).items()},
            "schedule": schedule.hash,
            "config": {key: value for key, value in hashed_training(config).items() if key != "save_steps"},
            "seed": seed,
            "prompts": [prompts[source].model_dump() for source in sorted(prompts)],
        }
    )
