"""A tiny suite with one task of each category, and an encoder whose vectors are written down."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

EAST, NORTH, NORTH_EAST = (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)
COS_45 = 2**-0.5


class PlaneEncoder:
    """Vectors in the plane by text; it refuses texts and prompts it was not told of."""

    def __init__(self, vectors: Mapping[str, tuple[float, ...]], prompts: Sequence[str] = ("",)) -> None:
        self.vectors, self.prompts = vectors, set(prompts)

    def encode(self, texts: Sequence[str], prompt: str) -> np.ndarray:
        assert prompt in self.prompts
        return np.array([self.vectors[text] for text in texts], np.float32)


def write_rows(path: Path, rows: Sequence[object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def write_pairs(folder: Path, rows: Sequence[tuple[object, ...]], key: str) -> Path:
    names = ("sentence1", "sentence2", key, "group")
    return write_rows(folder / "test.jsonl.gz", [dict(zip(names, row, strict=False)) for row in rows]).parent


def write_labelled(folder: Path, rows: Sequence[tuple[object, object]], stem: str = "test") -> Path:
    return write_rows(folder / f"{stem}.jsonl.gz", [{"text": text, "label": label} for text, label in rows]).parent


def write_retrieval(
    folder: Path,
    corpus: Mapping[str, tuple[str, str]],
    queries: Mapping[str, str],
    qrels: Sequence[tuple[str, str, object]],
) -> Path:
    rows = [{"_id": key, "title": title, "text": text} for key, (title, text) in corpus.items()]
    write_rows(folder / "corpus.jsonl.gz", rows)
    write_rows(folder / "queries.jsonl.gz", [{"_id": key, "text": text} for key, text in queries.items()])
    lines = ["query-id\tcorpus-id\tscore", *("\t".join(map(str, row)) for row in qrels)]
    (folder / "qrels.tsv").write_text("\n".join(lines) + "\n")
    return folder


def write_suite(root: Path, size: int = 12) -> Path:
    """Write a task of each category with ``size`` items; every text is different."""
    sts = [(f"left {i}", f"right {i}", i % 5 + i / 100) for i in range(size)]
    write_pairs(root / "sts" / "tiny", sts, "score")
    write_pairs(root / "pair_classification" / "tiny", [(f"one {i}", f"two {i}", i % 2) for i in range(size)], "label")
    folder = root / "classification" / "tiny"
    write_labelled(folder, [(f"train {i}", f"label {i % 3}") for i in range(4 * size)], "train")
    write_labelled(folder, [(f"test {i}", f"label {i % 3}") for i in range(size)])
    write_labelled(root / "clustering" / "tiny", [(f"row {i}", f"topic {i % 3}") for i in range(size)])
    rows = [
        {"query": f"ask {i}", "positive": [f"good {i}"], "negative": [f"bad {i} {j}" for j in range(3)]}
        for i in range(size)
    ]
    write_rows(root / "reranking" / "tiny" / "test.jsonl", rows)
    write_retrieval(
        root / "retrieval" / "tiny",
        {f"d{i}": (f"title {i}", f"body {i}") for i in range(5 * size)},
        {f"q{i}": f"query {i}" for i in range(size)},
        [(f"q{i}", f"d{i}", 1) for i in range(size)],
    )
    return root
