"""sentence-transformers' trainer with our batches: its loop, optimiser step and resume; our records and checkpoints."""

from __future__ import annotations

import gc
import logging
import math
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
from torch import nn
from torch.utils.data import DataLoader
from transformers import PrinterCallback, TrainerCallback, TrainerControl, TrainerState

from poolwise.config import TrainConfig
from poolwise.errors import ModelError, is_out_of_memory
from poolwise.kernels.backends import training_attention
from poolwise.kernels.memory import ALLOCATION_ERRORS, free_attempt
from poolwise.models import derive_seed
from poolwise.ranks import current_ranks, exchange, wait_for_all
from poolwise.records import TrainingStep
from poolwise.training.batches import Collator, build_loader, count_documents, count_tokens
from poolwise.training.checkpoints import load_weights, publish, save_weights
from poolwise.training.exchange import sum_gradients
from poolwise.training.interrupts import StopRequest
from poolwise.training.looks import Looks
from poolwise.training.optimizer import build_optimizer, build_scheduler, learning_rates
from poolwise.training.shards import WholeState, clip_gradients, is_sharded, whole_weights
from poolwise.training.trackers import PROJECT, guard_trackers, name_project
from poolwise.upstream.sentence_transformers import StepTrainer
from poolwise.upstream.transformers import use_one_gpu

logger = logging.getLogger(__name__)


class ScheduleTrainer(StepTrainer):
    """Trains a model on given batches, in order, with one optimiser step per batch.

    If several ranks train together, each reads its part of a batch, and each has the same loss, gradients and weights,
    or its part of them if the model is sharded.

    Args:
        batches: row numbers of each batch, for the collator; the first ``config.steps`` are used.
        loss: takes the model's features by column and returns the loss of the batch.
        remedy: what to change if the loss is not finite.
        folder: the folder of the checkpoints.
        run_hash: written into checkpoints, which only a run with the same hash resumes.
        on_step: called with the record of every step; an exception from it ends training.
        stop: checked after every step; after a signal to any rank, a checkpoint is written and training ends.
        seed: of the dropout of each step, if several ranks train together.
        looks: taken where they are due; a better score writes a checkpoint, and training ends when they are over.
        smaller_loss: returns the loss in mini-batches of so many rows; with it, a step that runs out of memory is
            repeated with half as many rows at a time.
    Raises: ModelError at the first step where loss or gradient is not finite, before the weights change.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        config: TrainConfig,
        batches: Sequence[Sequence[int]],
        collator: Collator,
        loss: nn.Module,
        *,
        remedy: str,
        folder: Path,
        run_hash: str,
        on_step: Callable[[TrainingStep], None],
        stop: StopRequest,
        seed: int,
        looks: Looks | None = None,
        smaller_loss: Callable[[int], nn.Module] | None = None,
    ) -> None:
        self.looks, self.smaller_loss = looks, smaller_loss
        self.mini_batch = min(config.mini_batch_size, config.batch_size)
        self.config, self.run_hash, self.on_step, self.stop = config, run_hash, on_step, stop
        self.remedy, self.seed, self.ranks = remedy, seed, current_ranks()
        self.batches = [list(batch) for batch in batches[: config.steps]]
        self.record: dict[str, Any] = {}
        self.weights: dict[str, torch.Tensor] = {}
        self.counts = (0, 0)
        self.has_placed_model = is_sharded(model)
        if config.report_to:
            name_project()  # before the trainer names it after itself
        super().__init__(
            model=model,
            args=_arguments(config, folder, model.device),
            loss=loss,
            data_collator=collator,
            callbacks=[_StepEnd(self)],
        )
        # Otherwise the loop sets the base's special tokens from the tokenizer and saves it with each checkpoint.
        self.processing_class = None
        self.remove_callback(PrinterCallback)
        self.trackers = guard_trackers(self.callback_handler.callbacks, config.report_to, folder.parent)

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Add no model card: our reports describe how a model was trained."""

    def get_train_dataloader(self) -> DataLoader[int]:
        """Return the schedule's batches, without shuffling or dropping; of each, this rank's part."""
        return build_loader(self.batches, self.data_collator, self.ranks)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Return AdamW with separate learning rates for base and head."""
        self.optimizer = build_optimizer(self.model, self.config)
        self.whole_state = WholeState(self.optimizer)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Return a schedule with linear warm-up and linear decay over the run."""
        self.lr_scheduler = build_scheduler(optimizer or self.optimizer, self.config)
        return self.lr_scheduler

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """Return the loss of a batch, after its backward pass.

        Raises: ModelError if the loss is not finite.
        """
        self.counts = (count_tokens(inputs), count_documents(inputs))
        if self.ranks.size > 1:
            # By step and rank: a resumed run draws the same, and two ranks do not drop the same places.
            name = f"dropout of step {self.state.global_step}, rank {self.ranks.rank} of {self.ranks.size}"
            torch.manual_seed(derive_seed(self.seed, name))
        while (loss := self._attempt(model, inputs, num_items_in_batch)) is None:
            self._halve_mini_batch(model)
        self.record["loss"] = self._finite("loss", float(loss))
        sum_gradients(model.parameters())
        return loss

    def _attempt(self, model: Any, inputs: dict[str, Any], num_items: Any) -> torch.Tensor | None:
        """Return the loss of a batch, after its backward pass; None where memory ran out and less at a time may fit."""
        draws = _generator_states(self.args.device)
        try:
            with training_attention(inputs, self.args.device):
                loss: torch.Tensor = super().training_step(model, dict(inputs), num_items)
                return loss
        except ALLOCATION_ERRORS as error:
            if self.smaller_loss is None or self.mini_batch == 1 or not is_out_of_memory(error):
                raise
        _restore_generators(draws, self.args.device)
        return None

    def _halve_mini_batch(self, model: Any) -> None:
        assert self.smaller_loss is not None
        before, self.mini_batch = self.mini_batch, self.mini_batch // 2
        self.loss = self.prepare_loss(self.smaller_loss(self.mini_batch), model)
        for parameter in model.parameters():
            parameter.grad = None  # parts of the gradient may be there already
        gc.collect()  # a graph may refer to itself
        free_attempt()
        logger.warning(
            "out of memory in step %d with %d rows at a time: mini-batches of %d from here on; "
            "the gradient stays the same",
            *(self.state.global_step + 1, before, self.mini_batch),
        )

    def clip_gradients(self, model: nn.Module) -> torch.Tensor:
        """Clip gradients to ``max_grad_norm`` and return the norm before clipping.

        Raises: ModelError if the norm is not finite.
        """
        norm = clip_gradients(model, self.config.max_grad_norm)
        self.record["grad_norm"] = self._finite("gradient norm", float(norm))
        rate, head_rate = learning_rates(self.optimizer)
        self.record |= {"learning_rate": rate, "head_learning_rate": head_rate}
        return norm

    def _finite(self, what: str, value: float) -> float:
        if math.isfinite(value):
            return value
        step = self.state.global_step
        batch = self.data_collator.describe(self.batches[step])
        raise ModelError(
            f"{what} is {value} at step {step + 1} of {self.config.steps}, {batch}",
            "wanted a finite number; the weights are still those of the step before",
            self.remedy,
        )

    def save_trained(self, folder: Path) -> None:
        """Write the trained parameters and the hash of their run."""
        save_weights(self.weights, folder, self.run_hash)

    def load_trained(self, folder: Path) -> None:
        """Load what ``save_trained`` wrote."""
        load_weights(self.model, folder)

    def partial_folder(self) -> Path:
        """Return the temporary folder in which a checkpoint is written before it is published."""
        return Path(self.args.output_dir) / "partial"

    def write_checkpoint(self, write: Callable[[], None]) -> None:
        """Write a checkpoint into the temporary folder, and publish it when it is complete."""
        self.weights = whole_weights(self.model)
        with self.whole_state.gathered():
            if self.ranks.is_first:
                shutil.rmtree(self.partial_folder(), ignore_errors=True)
                write()
                partial = self.partial_folder() / f"checkpoint-{self.state.global_step}"
                publish(partial, Path(self.args.output_dir), self.looks.needed if self.looks else [])
        self.weights = {}
        wait_for_all()


class _StepEnd(TrainerCallback):
    """Reports each step's record, and overrides the loop's rules for checkpoints."""

    def __init__(self, trainer: ScheduleTrainer) -> None:
        self.trainer = trainer
        self.started = 0.0

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.started = time.perf_counter()

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        now = time.perf_counter()
        seconds, self.started = now - self.started, now
        by_rank = exchange([*self.trainer.counts, self.trainer.stop.received or 0])
        tokens, documents, _ = map(sum, zip(*by_rank, strict=True))
        # Ranks receive a signal at different moments; all must stop after the same step.
        self.trainer.stop.received = max(received for _, _, received in by_rank) or None
        record = {"tokens": tokens, "negatives": float(max(0, documents - 1))} | self.trainer.record
        self.trainer.on_step(TrainingStep(step=state.global_step, seconds=seconds, **record))
        if (looks := self.trainer.looks) is not None and looks.is_due(state.global_step):
            look = looks.take(state.global_step)
            # A resumed training needs the best weights of its past, so their step has a checkpoint of its own.
            control.should_save |= looks.best is look
            if self.trainer.config.report_to:
                self.trainer.log({"dev_score": look.score})
            control.should_training_stop |= looks.is_over
            self.started = time.perf_counter()
        if state.global_step >= state.max_steps or control.should_training_stop:
            control.should_save = False
        elif self.trainer.stop.received is not None:
            control.should_save = control.should_training_stop = True


def _generator_states(device: torch.device) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return the states of the generators that dropout draws from, so that a repeated step draws from the same."""
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def _restore_generators(states: tuple[torch.Tensor, torch.Tensor | None], device: torch.device) -> None:
    torch.set_rng_state(states[0])
    if states[1] is not None:
        torch.cuda.set_rng_state(states[1], device)


def _arguments(config: TrainConfig, folder: Path, device: torch.device) -> SentenceTransformerTrainingArguments:
    """Return training arguments: the trainer's own precision and progress bars are off, reports go to ``report_to``."""
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        max_steps=config.steps,
        per_device_train_batch_size=config.batch_size,
        max_grad_norm=config.max_grad_norm,
        save_strategy="steps",
        save_steps=config.save_steps,
        logging_strategy="steps" if config.report_to else "no",
        logging_steps=1,
        report_to=(list(config.report_to) if current_ranks().is_first else []) or "none",
        run_name=folder.parent.name,
        project=PROJECT,
        disable_tqdm=True,
        # The model handles precision itself: its forward uses autocast, its trained weights are fp32.
        bf16=False,
        fp16=False,
        use_cpu=device.type == "cpu",
        dataloader_pin_memory=False,
    )
    # With several GPUs, the trainer would use replicas, each of which sees only its own negatives.
    use_one_gpu(arguments)
    return arguments
