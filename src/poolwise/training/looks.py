"""Early stopping: scores of dev tasks during training, and the weights of the best one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from sentence_transformers import SentenceTransformer

from poolwise.config import EarlyStopping
from poolwise.ranks import current_ranks, from_first
from poolwise.records import DevLook, load_looks, save_looks
from poolwise.storage.checksums import files_below
from poolwise.storage.whole_files import flush_folder
from poolwise.training.checkpoints import load_weights, save_weights
from poolwise.training.shards import whole_weights

FOLDER, FILE = "best", "looks.json"
"""Inside the folder of a run: the weights of the best looks, deleted at the end, and the scores of all looks."""


class Looks:
    """The looks of one training: a score every few steps and after the last one.

    A score that is equal to the best one is no improvement. The weights of the best look and of the best one before it
    stay on disk: if the process stops before the newest checkpoint is written, the one before is needed again.

    Args:
        score: returns the dev score of the model as it is now; higher is better. It must not change the model.
        out: the folder of the run.
        done: steps that a resumed training has behind it; later looks are dropped, because they are taken again.
    Law: a look changes neither the weights nor the random state of the training.

    If several ranks train together, all of them take every look: rank 0 scores and writes, the others wait for it.
    """

    def __init__(
        self,
        score: Callable[[], float],
        settings: EarlyStopping,
        model: SentenceTransformer,
        out: Path,
        num_steps: int,
        run_hash: str,
        done: int = 0,
    ) -> None:
        self._score, self._settings, self._model, self._out = score, settings, model, out
        self._num_steps, self._run_hash = num_steps, run_hash
        self._writes = current_ranks().is_first
        earlier = load_looks(out / FILE) if done and self._writes else []
        self.taken = from_first([look for look in earlier if look.step <= done])
        if self._writes:
            save_looks(self.taken, out / FILE)

    @property
    def best(self) -> DevLook | None:
        """The first look with the highest score; None before the first look."""
        return max(self.taken, key=lambda look: look.score, default=None)

    @property
    def is_over(self) -> bool:
        """Whether the last ``patience`` looks have all failed to improve on the best one."""
        if self._settings.patience is None or self.best is None:
            return False
        return sum(look.step > self.best.step for look in self.taken) >= self._settings.patience

    def is_due(self, step: int) -> bool:
        """Return whether there is a look after ``step`` steps."""
        return step % self._settings.every == 0 or step >= self._num_steps

    def take(self, step: int) -> DevLook:
        """Score the model, and keep its weights if it is the best so far; return the look."""
        score = from_first(self._score() if self._writes else 0.0)
        before, look = self.best, DevLook(step=step, score=score)
        self.taken.append(look)
        if self._writes:
            if self.best is look:
                self._keep(step, before)
            save_looks(self.taken, self._out / FILE)
        return look

    def _keep(self, step: int, before: DevLook | None) -> None:
        root = self._out / FOLDER
        partial = root / "partial"
        shutil.rmtree(partial, ignore_errors=True)
        save_weights(whole_weights(self._model), partial, self._run_hash)
        flush_folder(partial)
        shutil.rmtree(self._folder(step), ignore_errors=True)
        partial.replace(self._folder(step))
        kept = {self._folder(step), *([self._folder(before.step)] if before else [])}
        for older in set(root.iterdir()) - kept:
            shutil.rmtree(older, ignore_errors=True)

    def _folder(self, step: int) -> Path:
        return self._out / FOLDER / f"step-{step}"

    @property
    def needed(self) -> list[Path]:
        """The files of the best look so far, which a training that resumes now will need."""
        return files_below(self._folder(self.best.step)) if self.best is not None else []

    def restore_best(self) -> None:
        """Load the weights of the best look into the model.

        Raises: ModelError if they are not on disk any more, or damaged.
        """
        assert self.best is not None
        load_weights(self._model, self._folder(self.best.step))

    def delete_weights(self) -> None:
        """Delete the stored weights; the scores stay."""
        if self._writes:
            shutil.rmtree(self._out / FOLDER, ignore_errors=True)
