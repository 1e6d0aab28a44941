"""Memory of a training and of an encoding with a base held in bf16, relative to the same base held in fp32.

python benchmarks/base_dtype.py

The base is a random Llama of 300 M weights, so that weights decide. Products are in bf16 on both sides. Each side runs
in a process of its own, from loading the base to the end; the memory that Python and the libraries took before is
subtracted. On a CPU it is the resident memory, with the pages of files: weights that need no conversion are read from
the mapped file at every step.
"""

from __future__ import annotations

import sys
import tempfile
import threading
from pathlib import Path

import torch
from _measure import in_own_process, record
from _peers import DEVICE, save_base
from transformers import AutoModel, LlamaConfig

from poolwise.config import TrainConfig
from poolwise.data import Triple, build_schedule
from poolwise.encoding.encode import encode_texts
from poolwise.models import build_model, load_any
from poolwise.training import train_model

SHAPE = {"hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 22, "num_attention_heads": 16}
MOST_SHARE = 0.6
CONFIG = TrainConfig(steps=1, batch_size=2, max_tokens=8, precision="bf16", lora_rank=4)
SOURCE = "benchmark"
TRIPLES = [Triple(f"read {n}", f"open a file {n}", (), SOURCE, n) for n in range(4)]


def save_large(folder: Path) -> str:
    """Write the base, with weights in bf16 and the tokenizer of the embedded base, and return its name."""
    name = save_base(folder, "nano")
    config = LlamaConfig(**SHAPE, vocab_size=AutoModel.from_pretrained(name).config.vocab_size)
    torch.manual_seed(0)
    AutoModel.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)
    return name


class Peak:
    """Samples the resident memory of this process, in bytes; on a GPU what torch allocated there."""

    def __init__(self) -> None:
        self.before = self.most = self._now()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @staticmethod
    def _now() -> int:
        if DEVICE == "cuda":
            return torch.cuda.max_memory_allocated()
        status = Path("/proc/self/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS"))

    def _watch(self) -> None:
        while not self._done.wait(0.01):
            self.most = max(self.most, self._now())

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self.most = max(self.most, self._now()) - self.before


def peak_of_training(base: str, dtype: str, out: str) -> int:
    """Return the bytes that loading and one step of LoRA need; the model is saved into ``out``."""
    with Peak() as peak:
        model = build_model("mean+causal", base, lora_rank=4, max_tokens=8, precision="bf16", base_dtype=dtype)  # type: ignore[arg-type]
        train_model(
            model,
            TRIPLES,
            build_schedule(TRIPLES, steps=1, batch_size=2, seed=0),
            CONFIG,
            out=Path(out),
            seed=0,
            prompts={},
            source_category={SOURCE: "retrieval"},
        )
    model.save(f"{out}/model", create_model_card=False)
    return peak.most


def peak_of_encoding(out: str) -> int:
    """Return the bytes that loading a trained model and encoding with it need, as in an evaluation."""
    with Peak() as peak:
        encode_texts(load_any(f"{out}/model", "bf16"), [triple.positive for triple in TRIPLES])
    return peak.most


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        base, missed = save_large(Path(place) / "base"), []
        peaks: dict[str, dict[str, int]] = {"training": {}, "encoding": {}}
        for dtype in ("fp32", "bf16"):
            out = f"{place}/{dtype}"
            peaks["training"][dtype] = in_own_process(peak_of_training, base, dtype, out)
            peaks["encoding"][dtype] = in_own_process(peak_of_encoding, out)
        for what, found in peaks.items():
            share = found["bf16"] / found["fp32"]
            missed += [what] if share > MOST_SHARE else []
            sizes = ", ".join(f"{dtype} {size / 2**20:.0f} MiB" for dtype, size in found.items())
            print(f"memory of {what}, bf16 over fp32 weights: {share:.3f} ({sizes}), wanted at most {MOST_SHARE}")
            record(f"memory of {what}, fp32 over bf16 weights", [1 / share], target=1 / MOST_SHARE, bytes=found)
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
