"""An index of poolwise against faiss used directly: build time, size, recall, and latency, as ratios in one run.

python benchmarks/index.py [--sizes 10000 100000] [--million] [--width 384] [--queries 200] [--repeats 3]

Vectors are random around centres, as embeddings are, and of length 1; queries are other draws around the same centres.
Our build reads a corpus of float32 shards and measures its recall; faiss is given the matrix in memory. Both search one
query at a time, with the same settings. Ours also scores the candidates again from disk, and looks up ids.
``python scripts/scale_table.py`` writes the records into docs/scale.md.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _measure import record

HNSW = {"m": 32, "ef_construction": 100, "ef_search": 128}
"""Half the candidates of our default when a row is put in, with which 100,000 vectors take minutes."""
K = 10
KINDS = ("exact", "faiss-hnsw")
BUILD_TARGET, SEARCH_TARGET = {"exact": None, "faiss-hnsw": 0.5}, {"exact": 0.8, "faiss-hnsw": 0.5}
"""Of the speed of faiss alone: we also copy vectors, compute checksums and measure recall, and look up ids.

Nothing is promised for the build of an exact index, which is one copy in memory for faiss, nor for the 99th percentile,
which rests on two queries of each repeat.
"""
SHARD_ROWS = 8192


def draw_vectors(count: int, width: int, seed: int) -> np.ndarray:
    """Return vectors of length 1 around 1,000 centres, which do not depend on the seed (N D)."""
    centres = np.random.default_rng(0).standard_normal((1000, width), np.float32)
    rng = np.random.default_rng(seed)
    found = rng.standard_normal((count, width), np.float32)
    for start in range(0, count, SHARD_ROWS):  # in place: a million vectors are large
        part = found[start : start + SHARD_ROWS]
        part += centres[rng.integers(0, len(centres), len(part))]
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return found


def write_corpus(folder: Path, vectors: np.ndarray) -> Path:
    """Write vectors as ``poolwise encode`` would."""
    from poolwise.corpus.manifest import Manifest, ModelFingerprint, Output, save_manifest
    from poolwise.corpus.rows import Row
    from poolwise.corpus.shards import rows_table, save_shard

    parts = dict.fromkeys(("name", "weights", "tokenizer", "attention", "pooling", "prompt", "precision"), "none")
    model = ModelFingerprint(**parts, max_tokens=None)
    output = Output(dim=vectors.shape[1], format="npy")
    shards = []
    for number, start in enumerate(range(0, len(vectors), SHARD_ROWS)):
        part = vectors[start : start + SHARD_ROWS]
        rows = [Row(f"d{start + place}", "", "") for place in range(len(part))]
        shards.append(save_shard(folder, number, rows_table(rows, output), part, output))
    manifest = Manifest(
        model=model,
        fingerprint=model.fingerprint,
        output=output,
        is_complete=True,
        num_rows=len(vectors),
        shards=shards,
    )
    save_manifest(manifest, folder)
    return folder


def timed(run: Callable[[], Any]) -> tuple[Any, float]:
    """Return what a call gives, and its seconds."""
    start = time.perf_counter()
    return run(), time.perf_counter() - start


def latencies(search: Callable[[np.ndarray], Any], queries: np.ndarray) -> np.ndarray:
    """Return the milliseconds of each query, one after the other."""
    for query in queries[:5]:
        search(query[None])
    return np.array([1000 * timed(lambda query=query: search(query[None]))[1] for query in queries])


def by_faiss(vectors: np.ndarray, kind: str) -> Any:
    """Return faiss's own index, built in memory."""
    import faiss

    if kind == "exact":
        index = faiss.IndexFlatIP(vectors.shape[1])
    else:
        index = faiss.IndexHNSWFlat(vectors.shape[1], HNSW["m"], faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction, index.hnsw.efSearch = HNSW["ef_construction"], HNSW["ef_search"]
    index.add(vectors)
    return index


def measure(kind: str, count: int, width: int, num_queries: int, repeats: int) -> None:
    """Measure one size with one backend, and record the ratios."""
    import faiss

    from poolwise.search import build_index
    from poolwise.search.backends import search_exact

    what = f"{kind}, {count:,} vectors"
    vectors, queries = draw_vectors(count, width, 1), draw_vectors(num_queries, width, 2)
    settings = HNSW if kind == "faiss-hnsw" else {}
    with tempfile.TemporaryDirectory() as name:
        corpus = write_corpus(Path(name) / "corpus", vectors)
        print(f"{what}: faiss builds", flush=True)
        theirs, their_build = timed(lambda: by_faiss(vectors, kind))
        print(f"{what}: poolwise builds", flush=True)
        ours, our_build = timed(
            lambda: build_index(corpus, Path(name) / "index", backend=kind, settings=settings, min_recall=0)
        )
        sizes = {"ours": sum(file.num_bytes for file in ours.record.files)}
        sizes["faiss"] = len(faiss.serialize_index(theirs))
        bound = search_exact(ours.vectors, queries, K).scores[:, -1:] - 1e-5
        found = {"ours": ours.find(queries, K).scores, "faiss": theirs.search(queries, K)[0]}
        recall = {name: float((scores >= bound).mean()) for name, scores in found.items()}
        print(f"{what}: {num_queries} queries, one at a time, {repeats} times with each", flush=True)
        searches: dict[str, Callable[[np.ndarray], Any]] = {
            "ours": lambda query: ours.search(query, K),
            "faiss": lambda query: theirs.search(query, K),
        }
        times = {name: np.empty((repeats, num_queries)) for name in searches}
        for repeat in range(repeats):
            for name, search in searches.items():
                times[name][repeat] = latencies(search, queries)
        ours.close()
    seconds = {"ours": our_build, "faiss": their_build}
    milliseconds = {
        f"p{at}": {name: np.percentile(spent, at, axis=1).tolist() for name, spent in times.items()} for at in (50, 99)
    }
    config: dict[str, Any] = {"kind": kind, "vectors": count, "width": width, "k": K, "queries": num_queries}
    config |= {"settings": settings, "seconds": seconds, "bytes": sizes, "recall": recall}
    print(f"{what}: built in {our_build:.1f} s (faiss {their_build:.1f} s)")
    print(f"{what}: {sizes['ours'] / 2**20:.0f} MiB on disk (faiss {sizes['faiss'] / 2**20:.0f} MiB in memory)")
    print(f"{what}: recall at {K} {recall['ours']:.4f} (faiss {recall['faiss']:.4f})")
    record(f"build over faiss, {what}", [their_build / our_build], BUILD_TARGET[kind], **config)
    for at, spent in milliseconds.items():
        print(f"{what}: {at} in ms {spent}")
        ratios = [slow / fast for slow, fast in zip(spent["faiss"], spent["ours"], strict=True)]
        target = SEARCH_TARGET[kind] if at == "p50" else None
        record(f"search {at} over faiss, {what}", ratios, target, milliseconds=milliseconds, **config)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--million", action="store_true", help="also a million vectors")
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    for count in [*asked.sizes, *([1_000_000] if asked.million else [])]:
        for kind in KINDS:
            measure(kind, count, asked.width, asked.queries, asked.repeats)


if __name__ == "__main__":
    main()
