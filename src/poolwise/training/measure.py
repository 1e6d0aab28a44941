"""The cost of training: peak memory during the run, and the sums of its step records."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import psutil
import torch

from poolwise.freed_memory import release_freed_memory
from poolwise.records import Cost, TrainingStep, append_steps, load_steps, save_steps

_SAMPLE_SECONDS = 0.05


class PeakMemory:
    """Measures the peak memory inside the block, in GiB.

    On CUDA this is the memory that torch allocated; elsewhere the resident size of this process, sampled 20 times a
    second.

    Law: memory that was freed before the block does not count.
    """

    def __init__(self, device: torch.device) -> None:
        self.gib = 0.0
        self._device = device
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        process = psutil.Process()
        while True:
            self.gib = max(self.gib, process.memory_info().rss / 2**30)
            if self._done.wait(_SAMPLE_SECONDS):
                return

    def __enter__(self) -> PeakMemory:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        else:
            release_freed_memory()
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._device.type == "cuda":
            self.gib = torch.cuda.max_memory_allocated(self._device) / 2**30
        else:
            self._done.set()
            self._thread.join()


class StepLog:
    """The step records of a run in a JSON-lines file. A resumed run keeps the records up to its checkpoint.

    Law: every step is in the file once.
    """

    def __init__(self, path: Path, done: int = 0) -> None:
        self.path = path
        self.steps: list[TrainingStep] = []
        if done and path.is_file():
            self.steps = [step for step in load_steps(path) if step.step <= done]
        save_steps(self.steps, path)

    def add(self, step: TrainingStep) -> None:
        """Append one record; it is on disk when this returns."""
        self.steps.append(step)
        append_steps([step], self.path)

    def cost(self, peak_gib: float) -> Cost:
        """Return the cost of all steps, including those before a resume."""
        return training_cost(self.steps, peak_gib)


def training_cost(steps: Sequence[TrainingStep], peak_gib: float) -> Cost:
    """Return seconds and tokens per second of these steps; zeros if there are none."""
    seconds = sum(step.seconds for step in steps)
    tokens = sum(step.tokens for step in steps)
    return Cost(
        train_seconds=seconds,
        train_tokens_per_second=tokens / seconds if seconds else 0.0,
        train_peak_memory_gib=peak_gib,
    )
