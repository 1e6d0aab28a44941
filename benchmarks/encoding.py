"""``model.encode`` of our models against that of stock modules, both at their defaults: same base, dtype and texts.

python benchmarks/encoding.py [nano|110M] [fp32|bf16] [last|mean|multilayer]    bf16 by itself only where it is fast
python benchmarks/encoding.py --latency        one call with 1, 8 and 64 texts
python benchmarks/encoding.py --budgets        how texts/s depend on the tokens of a forward pass

The peer uses stock modules with the same weights. A tokenizer that appends EOS gives both the same token ids.
"""

from __future__ import annotations

import gzip
import json
import random
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from _measure import in_own_process, paired_seconds, peak_memory, record, seconds
from _peers import DEVICE, MAX_TOKENS, precisions, save_base, stock_model
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from poolwise.encoding.encode import encode_texts
from poolwise.models import build_model

SHARED = Path(__file__).parents[2] / "shared" / "data" / "eval"
POOLINGS = ("last", "mean", "multilayer")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
NUM_TOKENS = 20_000 if DEVICE == "cpu" else 300_000
"""Of a sample. With fewer texts the one batch in which the peer pads sentences to the length of abstracts is a larger
share of its work: at 4,500 tokens the ratio of the large shape was 3.25 instead of 1.88 (last, bf16, AMD EPYC).
"""
COMPARED = 15
"""Texts on which both are compared with the reference in fp32."""
LEAST_COSINE = {"fp32": 0.99999, "bf16": 0.999}
TARGET = 2.0
MEMORY_TARGET = 1.1


def mixed_texts(count: int = 1000) -> list[str]:
    """Return abstracts, sentences and questions, shuffled: SciFact, STSBenchmark, Banking77."""

    def rows(path: str) -> list[dict[str, str]]:
        return [json.loads(line) for line in gzip.open(SHARED / path, "rt")][:count]

    abstracts = [f"{row.get('title', '')} {row['text']}".strip() for row in rows("retrieval/SciFact/corpus.jsonl.gz")]
    sentences = [row["sentence1"] for row in rows("sts/STSBenchmark/test.jsonl.gz")]
    questions = [row["text"] for row in rows("classification/Banking77/test.jsonl.gz")]
    texts = [*abstracts, *sentences, *questions]
    random.Random(0).shuffle(texts)
    return texts


def sample(model: SentenceTransformer, num_tokens: int) -> tuple[list[str], int]:
    """Return the first texts of the mix that have ``num_tokens`` tokens together, and how many they have."""
    texts = mixed_texts()
    ends = np.cumsum([len(row) for row in model[0].tokens.encode(texts, "", MAX_TOKENS)[0]])
    count = int(np.searchsorted(ends, num_tokens)) + 1
    return texts[:count], int(ends[count - 1])


def fast_model(base: str, pooling: str, precision: str, peer: SentenceTransformer | None = None) -> SentenceTransformer:
    """Return poolwise's model of the same weights as the peer's, as a user builds it."""
    model = build_model(f"{pooling}+causal", base, method="frozen", max_tokens=MAX_TOKENS, precision=precision)  # type: ignore[arg-type]
    if peer is not None and pooling == "multilayer":
        model[1].load_state_dict(peer[1].pooling.state_dict())
    return model


def matmul_rate(dtype: torch.dtype) -> float:
    """Return the FLOP/s of a square product, the most this machine gives."""
    left, right = (torch.randn(2048, 2048).to(DEVICE, dtype) for _ in range(2))
    left @ right
    return 10 * 2 * 2048**3 / seconds(lambda: [left @ right for _ in range(10)])


def num_weights(model: SentenceTransformer) -> int:
    """Return the weights that every token is multiplied with."""
    return sum(w.numel() for name, w in model[0].named_parameters() if "embed" not in name)


def measure(size: str, precision: str, base: str, poolings: Sequence[str] = POOLINGS) -> None:
    """Time both on one base in one precision, for every pooling, after comparing what they give."""
    dtype = DTYPES[precision]
    for pooling in poolings:
        peer = stock_model(base, f"{pooling}+causal", dtype)
        ours = fast_model(base, pooling, precision, peer)
        texts, num_tokens = sample(ours, NUM_TOKENS)
        exact = stock_model(base, f"{pooling}+causal") if precision == "bf16" else peer
        if precision == "bf16" and pooling == "multilayer":
            exact[1].pooling.load_state_dict(peer[1].pooling.state_dict())
        few = texts[:: max(1, len(texts) // COMPARED)]
        cosine = _cosine(ours.encode(few), exact.encode(few))
        peer_cosine = _cosine(peer.encode(few), exact.encode(few))
        assert cosine > LEAST_COSINE[precision], f"{size} {pooling} {precision}: cosine {cosine}"
        # The comparison has warmed both up, but for shapes of the first pair; the median does not feel that.
        pairs = paired_seconds(lambda p=peer, t=texts: p.encode(t), lambda m=ours, t=texts: m.encode(t), warm=False)
        elapsed = statistics.median(fast for _, fast in pairs)
        share = 2 * num_weights(peer) * num_tokens / elapsed / matmul_rate(dtype)
        record(
            f"encoding {size} {pooling} {precision}",
            [slow / fast for slow, fast in pairs],
            target=TARGET,
            texts=len(texts),
            tokens=num_tokens,
            tokens_per_second=num_tokens / elapsed,
            share_of_matmul_rate=share,
            cosine_to_fp32=cosine,
            cosine_of_the_peer_to_fp32=peer_cosine,
        )


def _cosine(left: NDArray[np.float32], right: NDArray[np.float32]) -> float:
    return float((left * right).sum(axis=1).min())


def peak_of(base: str, pooling: str) -> int:
    """Return what encoding adds to the memory of a process that holds the model."""
    model = fast_model(base, pooling, "bf16")
    texts, _ = sample(model, 8_000)
    model.encode(texts[:8])
    model.encode(texts)
    return peak_memory()


def measure_memory(base: str) -> None:
    """Compare the peaks of a process that encodes with layers and of one that needs the last layer only."""
    peaks = {pooling: in_own_process(peak_of, base, pooling) for pooling in ("last", "multilayer")}
    share = peaks["multilayer"] / peaks["last"]
    verdict = "reached" if share <= MEMORY_TARGET else "MISSED"
    print(f"memory of multilayer over last, 30 layers: {share:.3f}, {verdict}: {MEMORY_TARGET}")
    record("memory of last over multilayer at 30 layers", [1 / share], target=1 / MEMORY_TARGET, bytes=peaks)


CALLS = {1: 40, 8: 20, 64: 6}
"""Calls of a repeat, by the texts of a call."""


def measure_latency(size: str, base: str, precision: str) -> None:
    """Time one call with few texts, as a search box makes it; both warmed up."""
    texts = [text for text in mixed_texts() if len(text) < 200]
    for pooling in POOLINGS:
        peer = stock_model(base, f"{pooling}+causal", DTYPES[precision])
        ours = fast_model(base, pooling, precision, peer)
        for count, calls in CALLS.items():
            batches = [texts[i * count : (i + 1) * count] for i in range(calls)]

            def run(model: SentenceTransformer, batches: list[list[str]] = batches) -> None:
                for batch in batches:
                    model.encode(batch)

            pairs = paired_seconds(lambda p=peer: run(p), lambda m=ours: run(m))
            milliseconds = [statistics.median(side) / calls * 1000 for side in zip(*pairs, strict=True)]
            record(
                f"latency {size} {pooling} {precision}, {count} texts",
                [slow / fast for slow, fast in pairs],
                target=1.0,
                milliseconds_stock=milliseconds[0],
                milliseconds=milliseconds[1],
            )


def measure_budgets(base: str) -> None:
    """Print texts/s by tokens read at once, for the default of a processor."""
    for precision in DTYPES:
        model = fast_model(base, "mean", precision)
        texts, num_tokens = sample(model, NUM_TOKENS)
        for budget in (256, 512, 1024, 2048, 4096, 8192):
            run: Callable[[], object] = lambda b=budget, m=model, t=texts: encode_texts(m, t, budget=b)  # noqa: E731
            run()
            rates = [num_tokens / seconds(run) for _ in range(3)]
            print(f"{precision} {budget:5d} tokens at once: {min(rates):.0f} to {max(rates):.0f} tokens/s")


def main(wanted: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for size in ("nano", "110M"):
            if set(wanted) & {"nano", "110M"} and size not in wanted:
                continue
            base = save_base(Path(folder) / size, size)
            if "--budgets" in wanted:
                measure_budgets(base)
                continue
            if "--latency" in wanted:
                for precision in precisions(wanted):
                    measure_latency(size, base, precision)
                continue
            for precision in precisions(wanted):
                # Slower still than bf16, seven minutes a pooling without AMX: measured where fp32 is named.
                usual = POOLINGS if (size, precision) != ("110M", "fp32") or precision in wanted else ()
                measure(size, precision, base, [p for p in POOLINGS if p in wanted] or usual)
            if size == "110M":
                measure_memory(base)


if __name__ == "__main__":
    main(sys.argv[1:])
