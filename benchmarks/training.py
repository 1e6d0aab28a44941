"""Tokens a second of a training step against sentence-transformers' trainer with plain modules: three padded forwards.

python benchmarks/training.py

Both train the same adapter and head, from the same start, on the same batches in the same order, under bf16 autocast
where the processor is fast at it. Losses are compared step by step.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from _measure import REPEATS, record
from _peers import StackedStates, save_base, stock_model
from datasets import Dataset
from peft import LoraConfig
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from torch.optim import AdamW
from torch.utils.data import SequentialSampler
from transformers import TrainerCallback

from poolwise.config import TrainConfig
from poolwise.data import Triple, build_schedule, load_source
from poolwise.modules import build_model, has_fast_bf16
from poolwise.training import train_model
from poolwise.training.batches import TripleCollator
from poolwise.training.optimizer import linear_factor

STEPS, WARM, BATCH, MAX_TOKENS = 8, 2, 32, 48
DESIGNS = ("last+causal", "mean+causal", "multilayer+causal")
TARGET = 1.5
LOSS_TOLERANCE = 0.05


class Clock(TrainerCallback):
    """Notes the seconds of every step."""

    def __init__(self) -> None:
        self.steps: list[float] = []

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.started = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.steps.append(time.perf_counter() - self.started)


class NotedLoss(MultipleNegativesRankingLoss):
    """Keeps the loss of every step."""

    def __init__(self, model: SentenceTransformer, scale: float) -> None:
        super().__init__(model, scale=scale)
        self.values: list[float] = []

    def forward(self, *arguments: Any) -> torch.Tensor:
        value = super().forward(*arguments)
        self.values.append(float(value.detach()))
        return value


class InOrder(SentenceTransformerTrainer):
    """Takes the rows as they come, as a user does who has put them in order."""

    def get_batch_sampler(self, dataset: Any, batch_size: int, drop_last: bool, **_: Any) -> Any:
        return torch.utils.data.BatchSampler(SequentialSampler(dataset), batch_size, drop_last)


def config() -> TrainConfig:
    return TrainConfig(
        steps=STEPS,
        batch_size=BATCH,
        max_tokens=MAX_TOKENS,
        lora_dropout=0.0,
        learning_rate=1e-3,
        head_learning_rate=1e-3,
    )


def ours(base: str, design: str, triples: list[Triple], folder: Path) -> tuple[list[float], list[float]]:
    """Return losses and seconds of our steps."""
    settings = config()
    model = build_model(design, base, max_tokens=MAX_TOKENS, lora_dropout=0.0, seed=1)
    schedule = build_schedule(triples, steps=STEPS, batch_size=BATCH, seed=0)
    steps: list[Any] = []
    categories = {triple.source: "retrieval" for triple in triples}
    train_model(
        model, triples, schedule, settings, out=folder, seed=0, prompts={}, source_category=categories,  # type: ignore[arg-type]
        on_step=steps.append, resume=False,
    )  # fmt: skip
    return [step.loss for step in steps], [step.seconds for step in steps]


def theirs(base: str, design: str, triples: list[Triple], folder: Path) -> tuple[list[float], list[float]]:
    """Return losses and seconds of the same steps by sentence-transformers, from the same start."""
    start = build_model(design, base, max_tokens=MAX_TOKENS, lora_dropout=0.0, seed=1)
    model = stock_model(base, design.partition("+")[0], torch.float32)
    model.max_seq_length = MAX_TOKENS
    model.add_adapter(LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear"))
    source = {name: weight for name, weight in start[0].model.named_parameters() if "lora_" in name}
    target = {name: weight for name, weight in model[0].auto_model.named_parameters() if "lora_" in name}
    assert source.keys() == target.keys()
    with torch.no_grad():
        for name, weight in target.items():
            weight.copy_(source[name])
    if isinstance(model[1], StackedStates):
        model[1].head.load_state_dict(start[1].state_dict())
    schedule = build_schedule(triples, steps=STEPS, batch_size=BATCH, seed=0)
    columns = [TripleCollator(start, triples, {}).columns(batch) for batch in schedule.batches]
    names = list(columns[0])
    rows = Dataset.from_dict({name: [text for batch in columns for text in batch[name]] for name in names})
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder), max_steps=STEPS, per_device_train_batch_size=BATCH, learning_rate=1e-3, warmup_steps=1,
        weight_decay=0.01, use_cpu=True, bf16=has_fast_bf16("cpu"), save_strategy="no", report_to="none",
        disable_tqdm=True, logging_strategy="no",
    )  # fmt: skip
    loss, clock = NotedLoss(model, scale=20.0), Clock()
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = AdamW(trained, lr=1e-3, weight_decay=0.01)
    decay = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: linear_factor(step, STEPS, warmup=1))
    trainer = InOrder(
        model=model, args=arguments, train_dataset=rows, loss=loss, callbacks=[clock], optimizers=(optimizer, decay)
    )
    trainer.train()
    return loss.values, clock.steps


def main() -> None:
    triples = load_source("poolwise/pydoc").triples[:2000]
    with tempfile.TemporaryDirectory() as place:
        base = save_base(Path(place) / "nano", "nano")
        for design in DESIGNS:
            ratios, gaps = [], []
            for repeat in range(REPEATS):
                losses, times = theirs(base, design, triples, Path(place) / f"theirs-{design}-{repeat}")
                own_losses, own_times = ours(base, design, triples, Path(place) / f"ours-{design}-{repeat}")
                gaps.append(max(abs(a - b) for a, b in zip(losses, own_losses, strict=True)))
                ratios.append(statistics.median(times[WARM:]) / statistics.median(own_times[WARM:]))
            print([round(x, 3) for x in losses], [round(x, 3) for x in own_losses])
            assert max(gaps) < LOSS_TOLERANCE, f"{design}: losses differ by {max(gaps):.3f}"
            record(f"training {design}", ratios, target=TARGET, steps=STEPS, batch=BATCH, worst_loss_gap=max(gaps))


if __name__ == "__main__":
    main()
