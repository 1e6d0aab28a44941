"""What the ranks of the tests do, in a module that their processes can import."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from poolwise.data import Triple
from poolwise.ranks import current_ranks, wait_for_all
from poolwise.records import load_steps
from poolwise.training.batches import TripleCollator
from poolwise.training.exchange import sum_gradients
from poolwise.training.losses import build_loss
from poolwise.training.optimizer import build_optimizer, trainable_parameters
from poolwise.training.shards import sharded
from toy_adaptation import toy_adapted
from toy_training import toy_config, toy_model, toy_train, toy_triples

DESIGN = "multilayer+bidirectional"


@dataclass(frozen=True)
class Case:
    """One toy training.

    Args:
        signal_after: the step after which the last rank gets a signal.
        full_in: the step in which the memory of the last rank is full.
        killed_in: the step in which the last rank is killed, the first time that it trains.
        family: of the base, whose folder is beside the usual one; empty for the usual one.
    """

    changes: dict[str, Any] = field(default_factory=dict)
    design: str = DESIGN
    signal_after: int = 0
    full_in: int = 0
    killed_in: int = 0
    family: str = ""

    def train(self, base: str, out: Path) -> None:
        """Train, from the checkpoint in ``out`` if there is one; save the weights of each rank, if it ends."""
        config = toy_config(**({"lora_dropout": 0.0, "temperature": 0.2, "learning_rate": 5e-3} | self.changes))
        model = toy_model(self.design, str(Path(base).with_name(self.family)) if self.family else base, config)
        ranks = current_ranks()
        if self.signal_after and ranks.rank == ranks.size - 1:
            _do_in_step(model, self.signal_after, lambda: os.kill(os.getpid(), signal.SIGTERM))
        if self.full_in and ranks.rank == ranks.size - 1:
            _do_in_step(model, self.full_in, _run_out_of_memory)
        if self.killed_in and ranks.rank == ranks.size - 1 and not (out / "killed").exists():
            _do_in_step(model, self.killed_in, partial(_be_killed, out / "killed"))
        try:
            toy_train(model, config, out, triples=uneven_triples())
        except KeyboardInterrupt:
            return
        _save(model, out)


@dataclass(frozen=True)
class Stopping:
    """A toy training with a look after every second step; the look after step 4 has the best score."""

    def train(self, base: str, out: Path) -> None:
        """Train and save the weights of each rank; rank 0 alone may take scores."""
        looking = {"early_stopping": {"dev": ["dev"], "every": 2}}
        config = toy_config(batch_size=5, lora_dropout=0.0, temperature=0.2, **looking)
        model = toy_model(DESIGN, base, config)
        scores = iter([0.1, 0.5, 0.3] if current_ranks().is_first else [])
        toy_train(model, config, out, triples=uneven_triples(), dev_score=lambda: next(scores))
        _save(model, out)


@dataclass(frozen=True)
class Parts:
    """How many numbers each rank holds of a sharded model, and of an optimiser's state after a step."""

    design: str = DESIGN
    method: str = "full"

    def train(self, base: str, out: Path) -> None:
        """Save, for each rank: numbers of the model, held of it, trained, and held by the optimiser."""
        config = toy_config(batch_size=5, method=self.method)
        model = toy_model(self.design, base, config)
        every = sum(weight.numel() for weight in model.parameters())
        with sharded(model, "cpu") as parts:
            optimizer = build_optimizer(parts, config)
            for weight in trainable_parameters(parts).values():
                weight.grad = torch.zeros_like(weight)
            optimizer.step()
            trained = sum(weight.numel() for weight in trainable_parameters(parts).values())
            held = sum(weight.to_local().numel() for weight in parts.parameters())
            state = sum(values["exp_avg"].to_local().numel() for values in optimizer.state.values())
        is_kept = not any(weight.is_meta for weight in model.parameters())
        out.mkdir(parents=True, exist_ok=True)
        torch.save((every, held, trained, state, is_kept), out / f"parts-{current_ranks().rank}.pt")


@dataclass(frozen=True)
class Adaptation:
    """A toy adaptation of a base, with three texts in each batch, for two ranks."""

    def train(self, base: str, out: Path) -> None:
        """Adapt the base and save the weights of each rank."""
        adaptable, _ = toy_adapted(base, out)
        _save(adaptable.model, out)


@dataclass(frozen=True)
class Gradients:
    """The gradients of one batch, before any optimiser, which would hide their scale."""

    mini_batch_size: int

    def train(self, base: str, out: Path) -> None:
        """Save the gradients of each rank as if they were weights."""
        config = toy_config(batch_size=5, mini_batch_size=self.mini_batch_size, lora_dropout=0.0, temperature=0.2)
        model, ranks = toy_model(DESIGN, base, config), current_ranks()
        inputs = TripleCollator(model, toy_triples(), {})(range(5), ranks.part(5))
        columns = ("anchor", "positive", "negative_1")
        features = [
            {name.removeprefix(f"{column}_"): value for name, value in inputs.items() if name.startswith(f"{column}_")}
            for column in columns
        ]
        build_loss(model.train(), config)(features, None).backward()
        sum_gradients(model.parameters())
        out.mkdir(parents=True, exist_ok=True)
        gradients = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
        torch.save(gradients, out / f"weights-{ranks.rank}.pt")


def run_cases(report: Callable[..., None], *, cases: dict[str, Any], base: str, out: Path) -> None:
    """Run one case after the other in the same processes: starting them takes longer than all the training.

    If a process was lost and this is the second try, the cases that ended before are not run again.
    """
    out.mkdir(parents=True, exist_ok=True)
    ended = {name for number, name in enumerate(cases) if (out / f"{number}.ended").exists()}
    wait_for_all()  # until each process has looked
    for number, (name, case) in enumerate(cases.items()):
        if name in ended:
            continue
        case.train(base, out / name)
        wait_for_all()  # until each process has saved its weights
        (out / f"{number}.ended").touch()
        report(number + 1, len(cases), name)


def uneven_triples() -> list[Triple]:
    """Return triples with one, two or three negatives, of which a batch uses as many as its poorest row has."""
    rich = toy_triples(24, negatives=3)
    return [
        Triple(one.query, one.positive, one.negatives[: 1 + row % 3], one.source, one.row)
        for row, one in enumerate(rich)
    ]


def losses_of(out: Path) -> list[float]:
    """Return the loss of each step of a training."""
    return [step.loss for step in load_steps(out / "training.jsonl")]


def norms_of(out: Path) -> list[float]:
    """Return the gradient norm of each step."""
    return [step.grad_norm or 0.0 for step in load_steps(out / "training.jsonl")]


def weights_of(out: Path, rank: int = 0) -> dict[str, torch.Tensor]:
    """Return the trained weights of one rank, if the training ended."""
    found: dict[str, torch.Tensor] = torch.load(out / f"weights-{rank}.pt")
    return found


def _save(model: Any, out: Path) -> None:
    if any(weight.is_meta for weight in model.parameters()):
        return  # after a training of parts only rank 0 has a model
    trained = {name: weight.detach() for name, weight in model.named_parameters() if weight.requires_grad}
    torch.save(trained, out / f"weights-{current_ranks().rank}.pt")


def _be_killed(mark: Path) -> None:
    mark.touch()
    os.kill(os.getpid(), signal.SIGKILL)


def _run_out_of_memory() -> None:
    raise RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes")


def _do_in_step(model: Any, step: int, do: Callable[[], None]) -> None:
    calls = iter(range(1, 10**6))

    def hook(*_: object) -> None:
        if next(calls) == step:
            do()

    # Also in the copy that a training of parts makes: a copied hook is the same function.
    model[1].register_forward_hook(hook)
