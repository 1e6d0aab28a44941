"""Private methods of sentence-transformers' models and trainer, checked against 6.2.0 with transformers 5.23.0.

``encode`` resolves its arguments and calls ``_inference``, as its worker processes do. ``_inference`` moves the model
with ``_resolve_inference_device``. ``_placement_is_delegated`` says that accelerate or a device map places the model.
If one is renamed, ``models.embedding_model.EmbeddingModel`` encodes with sentence-transformers' own, slower loop.

The training loop calls ``_clip_grad_norm``, ``_get_output_dir``, ``_save``, ``_load_from_checkpoint`` and
``_save_checkpoint``. If one is renamed, ``training.trainer.ScheduleTrainer`` would silently clip by other rules, write
whole models into checkpoints, or resume from the wrong weights. Without ``_move_model_to_device`` it could not train
sharded models, which cannot be moved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
from torch import Tensor, nn


class DirectModel(SentenceTransformer):
    """A ``SentenceTransformer`` with a public method for the work of ``encode`` after its arguments are resolved."""

    def read_inputs(self, inputs: list[Any], device: str | torch.device | None, options: dict[str, Any]) -> Any:
        """Return the outputs for inputs, in order.

        Args:
            device: where to compute; None is the model's device.
            options: prompt, batch_size, show_progress_bar, output_value, save_to_cpu, normalize_embeddings,
                truncate_dim, and any other arguments of the caller.
        """
        raise NotImplementedError

    def read_by_stock_loop(self, inputs: list[Any], device: str | torch.device | None, options: dict[str, Any]) -> Any:
        """Return the result of sentence-transformers' own loop, which leaves the model in evaluation mode."""
        return super()._inference(inputs, device=device, **options)

    def move_to(self, device: str | torch.device | None) -> None:
        """Move the model to the device where it will compute, as ``encode`` does."""
        self._resolve_inference_device(device)

    @property
    def is_placed_by_others(self) -> bool:
        """Whether accelerate or a device map decides where its parts compute."""
        return bool(self._placement_is_delegated)

    def _inference(self, inputs: list[Any], *, device: str | torch.device | None = None, **options: Any) -> Any:
        return self.read_inputs(inputs, device, options)


class StepTrainer(SentenceTransformerTrainer):
    """sentence-transformers' trainer with a public method for each private one that a subclass must implement."""

    has_placed_model = False
    """Whether the model is already where it trains, and must not be moved."""

    def prepare_loss(self, loss: Any, model: Any) -> Any:
        """Return the loss for a model; a loss contains the model, so it is moved with it."""
        return loss if self.has_placed_model else super().prepare_loss(loss, model)

    def clip_gradients(self, model: nn.Module) -> Tensor:
        """Clip the gradients of a model in place and return their norm before clipping."""
        raise NotImplementedError

    def partial_folder(self) -> Path:
        """Return the folder in which the loop writes ``checkpoint-STEP`` until it is complete."""
        raise NotImplementedError

    def save_trained(self, folder: Path) -> None:
        """Write the trained parameters into a checkpoint's folder."""
        raise NotImplementedError

    def load_trained(self, folder: Path) -> None:
        """Load what ``save_trained`` wrote."""
        raise NotImplementedError

    def write_checkpoint(self, write: Callable[[], None]) -> None:
        """Write a checkpoint; ``write`` saves weights, optimiser, random states and the loop's own state."""
        raise NotImplementedError

    def _move_model_to_device(self, model: Any, device: Any) -> None:
        if not self.has_placed_model:
            super()._move_model_to_device(model, device)

    def _clip_grad_norm(self, model: Any) -> Tensor:
        return self.clip_gradients(model)

    def _get_output_dir(self, trial: Any) -> str:
        return str(self.partial_folder())

    def _save(self, output_dir: str | None = None, state_dict: Mapping[str, Any] | None = None) -> None:
        self.save_trained(Path(output_dir or self.args.output_dir))

    def _load_from_checkpoint(self, checkpoint_path: str) -> None:
        self.load_trained(Path(checkpoint_path))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        write = super()._save_checkpoint
        self.write_checkpoint(lambda: write(model, trial))
