"""The training loop for any model and loss, from the first step or the last checkpoint to the end."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from torch import nn

from poolwise.config import TrainConfig
from poolwise.errors import ConfigError, ModelError, is_out_of_memory, one_line, unreadable
from poolwise.kernels.fused_training import fused_training
from poolwise.kernels.precision import uses_bf16
from poolwise.models import Backbone, derive_seed
from poolwise.ranks import current_ranks, exchange, from_first, wait_for_all
from poolwise.records import Cost, TrainingStep
from poolwise.training.batches import Collator
from poolwise.training.checkpoints import FOLDER, checkpoint_step, find_checkpoint, restore_records
from poolwise.training.interrupts import StopRequest
from poolwise.training.looks import Looks
from poolwise.training.measure import PeakMemory, StepLog, training_cost
from poolwise.training.optimizer import trainable_parameters
from poolwise.training.shards import is_sharded
from poolwise.training.trainer import ScheduleTrainer


@dataclass(frozen=True)
class Hints:
    """Hints for the errors of a training.

    Args:
        remedy: what to change if loss or gradient is not finite.
        smaller: what to lower if memory runs out.
    """

    remedy: str
    smaller: str


def run_steps(
    model: SentenceTransformer,
    config: TrainConfig,
    batches: Sequence[Sequence[int]],
    collator: Collator,
    loss: nn.Module,
    hints: Hints,
    *,
    run_hash: str,
    out: Path,
    seed: int,
    on_step: Callable[[TrainingStep], None] | None = None,
    resume: bool = True,
    dev_score: Callable[[], float] | None = None,
    smaller_loss: Callable[[int], nn.Module] | None = None,
) -> Cost:
    """Train ``model`` in place on the first ``config.steps`` batches, and return the cost; see ``train_model``.

    If several ranks train together, all of them call this. Rank 0 writes the files and calls ``on_step``.

    Args:
        run_hash: a call resumes an earlier one only if both have the same hash.
        dev_score: the score for ``config.early_stopping``; None takes no looks.
        smaller_loss: returns the same loss in mini-batches of so many rows, for a process alone that runs out of
            memory; None where the loss has none.
    """
    ranks, folder = current_ranks(), out / FOLDER
    _require_rows(batches, ranks.size)
    if ranks.is_first:
        out.mkdir(parents=True, exist_ok=True)
        if not resume:
            shutil.rmtree(folder, ignore_errors=True)
    checkpoint = _shared_checkpoint(find_checkpoint(folder, run_hash) if ranks.is_first else None)
    done = checkpoint_step(checkpoint) if checkpoint else 0
    if checkpoint is not None and ranks.is_first:
        restore_records(checkpoint, out)
    log = StepLog(out / "training.jsonl", done) if ranks.is_first else None
    if config.steps == 0 or not trainable_parameters(model):
        return training_cost([], 0.0)

    looks = None
    if dev_score is not None and config.early_stopping is not None:
        looks = Looks(dev_score, config.early_stopping, model, out, config.steps, run_hash, done)

    def record(step: TrainingStep) -> None:
        if log is not None:
            log.add(step)
            if on_step is not None:
                on_step(step)

    with (
        _explained(hints.smaller),
        StopRequest() as stop,
        PeakMemory(model.device) as peak,
        _fused(model),
    ):
        trainer = ScheduleTrainer(
            model,
            config,
            batches,
            collator,
            loss,
            remedy=hints.remedy,
            folder=folder,
            run_hash=run_hash,
            on_step=record,
            stop=stop,
            seed=seed,
            looks=looks,
            smaller_loss=smaller_loss if ranks.size == 1 else None,  # other ranks would wait for one that repeats
        )
        # The trainer sets a seed itself; this comes after, so that dropout does not depend on how a design is built.
        torch.manual_seed(derive_seed(seed, "dropout"))
        try:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        except UnpicklingError as error:  # transformers reads optimizer, scheduler and random state with weights_only
            hint = f"delete {folder}: the training begins anew"
            raise unreadable(f"cannot resume from {checkpoint}", error, "wanted poolwise's own", hint) from error
        finally:
            model.eval()
            for tracker in trainer.trackers:
                tracker.close()
    wait_for_all()
    if looks is not None:
        looks.restore_best()
    wait_for_all()
    if ranks.is_first:
        shutil.rmtree(folder, ignore_errors=True)
    if looks is not None:
        looks.delete_weights()
    mib = max(own for (own,) in exchange([round(peak.gib * 1024)])) if ranks.size > 1 else 0
    return from_first(log.cost(max(peak.gib, mib / 1024)) if log else None)  # type: ignore[return-value]


def _require_rows(batches: Sequence[Sequence[int]], num_ranks: int) -> None:
    smallest = min(map(len, batches), default=num_ranks)
    if smallest < num_ranks:
        raise ConfigError(
            f"{num_ranks} processes share a batch of {smallest} rows",
            "wanted at least one row for each process",
            "start fewer processes, or raise train.batch_size",
        )


def _shared_checkpoint(found: Path | None) -> Path | None:
    """Return the checkpoint that rank 0 found.

    Raises: ConfigError if another rank does not see it.
    """
    checkpoint = from_first(found)
    if checkpoint is not None and not checkpoint.is_dir():
        raise ConfigError(
            f"rank {current_ranks().rank} does not see {checkpoint}",
            "wanted an output folder that all processes share",
            "give an --out folder on a file system of all machines",
        )
    return checkpoint


def _fused(model: SentenceTransformer) -> AbstractContextManager[Any]:
    if not isinstance(backbone := model[0], Backbone) or is_sharded(model):
        return nullcontext()  # stored states have no layers; the faster forms keep whole weights
    dtype = torch.bfloat16 if uses_bf16(backbone.precision, model.device) else torch.float32
    return fused_training(backbone.model, dtype)


@contextmanager
def _explained(smaller: str) -> Iterator[None]:
    """Turn an out-of-memory error into a ModelError that names the settings to lower."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not is_out_of_memory(error):
            raise
        raise ModelError(
            f"out of memory in training: {one_line(error)}",
            hint=smaller,
        ) from error
