"""The private steps of sentence-transformers' trainer, read in 6.2.0 over transformers 5.23.0.

The training loop calls ``_clip_grad_norm``, ``_get_output_dir``, ``_save``, ``_load_from_checkpoint`` and
``_save_checkpoint``. If one is renamed, ``training.trainer.ScheduleTrainer`` would silently clip by other rules, write
whole models into checkpoints, or resume from the wrong weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformerTrainer
from torch import Tensor, nn


class StepTrainer(SentenceTransformerTrainer):
    """sentence-transformers' trainer with a public method for each private step that a subclass must write."""

    def clip_gradients(self, model: nn.Module) -> Tensor:
        """Clip the gradients of a model in place and return their norm before that."""
        raise NotImplementedError

    def partial_folder(self) -> Path:
        """Return the folder in which the loop puts ``checkpoint-STEP`` while it is being written."""
        raise NotImplementedError

    def save_trained(self, folder: Path) -> None:
        """Write what is trained into a checkpoint's folder."""
        raise NotImplementedError

    def load_trained(self, folder: Path) -> None:
        """Read back what ``save_trained`` wrote."""
        raise NotImplementedError

    def write_checkpoint(self, write: Callable[[], None]) -> None:
        """Write a checkpoint: ``write`` puts weights, optimiser, random states and the loop's own state on disk."""
        raise NotImplementedError

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
