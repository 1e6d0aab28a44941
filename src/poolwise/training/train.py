"""One design trained on one schedule: the same batches, seeds and loss whatever the design."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer

from poolwise.config import Prompts, TrainConfig, fingerprint
from poolwise.data import Schedule, Triple
from poolwise.errors import ConfigError, ModelError, is_out_of_memory
from poolwise.modules import Backbone, derive_seed, design_of, fused_training, uses_bf16
from poolwise.records import Category, Cost, TrainingStep
from poolwise.training.batches import TripleCollator, source_prompts
from poolwise.training.checkpoints import checkpoint_step, find_checkpoint
from poolwise.training.interrupts import StopRequest
from poolwise.training.measure import PeakMemory, StepLog
from poolwise.training.optimizer import trainable_parameters
from poolwise.training.trainer import ScheduleTrainer

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
    out.mkdir(parents=True, exist_ok=True)
    folder = out / "checkpoints"
    if not resume:
        shutil.rmtree(folder, ignore_errors=True)
    by_source = source_prompts(prompts, source_category)
    run_hash = _run_hash(model, schedule, config, seed, by_source)
    checkpoint = find_checkpoint(folder, run_hash)
    log = StepLog(out / "training.jsonl", done=checkpoint_step(checkpoint) if checkpoint else 0)
    if config.steps == 0 or not trainable_parameters(model):
        logger.info("%s: not trained (%s)", design_of(model), "0 steps" if not config.steps else "nothing to train")
        return log.cost(0.0)

    def record(step: TrainingStep) -> None:
        log.add(step)
        if on_step is not None:
            on_step(step)

    with (
        _explained(config),
        StopRequest() as stop,
        PeakMemory(model.device) as peak,
        _fused(model),
    ):
        collator = TripleCollator(model, triples, by_source)
        trainer = ScheduleTrainer(
            model,
            config,
            schedule.batches,
            collator,
            folder=folder,
            run_hash=run_hash,
            on_step=record,
            stop=stop,
        )
        # The trainer seeds once itself; this comes after, so that no design's construction shifts the dropout stream.
        torch.manual_seed(derive_seed(seed, "dropout"))
        try:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        finally:
            model.eval()
    shutil.rmtree(folder, ignore_errors=True)
    return log.cost(peak.gib)


def _fused(model: SentenceTransformer) -> AbstractContextManager[Any]:
    if not isinstance(backbone := model[0], Backbone):
        return nullcontext()  # stored states have no layers
    dtype = torch.bfloat16 if uses_bf16(backbone.precision, model.device) else torch.float32
    return fused_training(backbone.model, dtype)


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


@contextmanager
def _explained(config: TrainConfig) -> Iterator[None]:
    """Turn running out of memory into an error that names the settings to lower."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not is_out_of_memory(error):
            raise
        raise ModelError(
            f"out of memory in training: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
            hint=f"lower train.mini_batch_size ({config.mini_batch_size}; below batch_size {config.batch_size} it "
            f"bounds the memory) or train.max_tokens ({config.max_tokens}), or set train.gradient_checkpointing: true",
        ) from error
