"""Corpus folders for tests: encoded without a model, by a hash of each text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from poolwise.corpus.chunks import Chunker
from poolwise.corpus.engines import Engine, InThisProcess, ShardWriter
from poolwise.corpus.inputs import find_tables
from poolwise.corpus.manifest import (
    MANIFEST,
    SHARDS,
    WORK,
    Manifest,
    ModelFingerprint,
    Output,
    load_manifest,
    save_manifest,
)
from poolwise.corpus.pace import OnProgress, Pace
from poolwise.corpus.rows import Columns, Row
from poolwise.corpus.shards import load_shard
from poolwise.corpus.update import Update
from poolwise.storage.lock import locked

DIM = 8
MODEL = ModelFingerprint(
    name="fake",
    weights="w",
    tokenizer="t",
    attention="causal",
    pooling="mean",
    prompt="",
    max_tokens=8,
    precision="fp32",
)


def vector(text: str) -> np.ndarray:
    """Return the embedding of a text: eight numbers from its hash."""
    digest = hashlib.sha256(text.encode()).digest()
    return np.frombuffer(digest[: 2 * DIM], np.int16).astype(np.float32) / 2**15


def encode(rows: Sequence[Row], on_rows: Callable[[int], None]) -> np.ndarray:
    on_rows(len(rows))
    return np.stack([vector(row.text) for row in rows])


def open_encode() -> Any:
    return encode


def write_jsonl(path: Path, texts: dict[str, str], **more: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"_id": key, "text": text, **more}) + "\n" for key, text in texts.items()))
    return path


def encode_folder(
    out: Path,
    inputs: Iterable[Path | str],
    *,
    encode: Any = encode,
    engine: Engine | None = None,
    columns: Columns = Columns(),  # noqa: B008 - it is frozen
    chunker: Chunker | None = None,
    shard_rows: int = 4,
    is_strict: bool = False,
    on_progress: OnProgress = lambda _: None,
    **output: Any,
) -> tuple[Manifest, Update]:
    """Encode inputs into a folder as ``encode_corpus`` does, with a function instead of a model."""
    found = Output(dim=DIM, kept=columns.keep, **output)
    out.mkdir(exist_ok=True)
    with locked(out):
        (out / WORK).mkdir(exist_ok=True)
        tables = find_tables([str(name) for name in inputs], "train", out / WORK)
        if not (out / MANIFEST).exists():
            save_manifest(Manifest(model=MODEL, fingerprint=MODEL.fingerprint, output=found), out)
        update = Update(out, tables, columns, chunker=chunker, shard_rows=shard_rows, is_strict=is_strict)
        counts = [table.num_rows for table in tables]
        total = None if None in counts else sum(count or 0 for count in counts)
        try:
            chosen = engine or InThisProcess(encode, ShardWriter(out, found))
            return update.run(chosen, update.new_rows(), Pace(total, on_progress)), update
        finally:
            update.close()


def stored(out: Path) -> list[tuple[str, list[float]]]:
    """Return the id and embedding of every row of a folder, in the order of the shards."""
    rows = []
    for shard in load_manifest(out).shards:
        table, matrix = load_shard(out, shard)
        rows += list(zip(table["id"].to_pylist(), matrix.tolist(), strict=True))
    return rows


def wanted(texts: dict[str, str]) -> dict[str, list[float]]:
    return {key: vector(text).tolist() for key, text in texts.items()}


def require_whole(out: Path, texts: dict[str, str]) -> None:
    """Check that a folder has every row once, with its embedding, and no file beside those of its manifest."""
    rows = stored(out)
    assert len(rows) == len(texts)
    assert dict(rows) == wanted(texts)
    manifest = load_manifest(out)
    assert manifest.is_complete and manifest.num_rows == len(texts)
    named = {file.name for shard in manifest.shards for file in shard.files}
    assert {path.name for path in (out / SHARDS).iterdir()} == named
    assert not (out / WORK).exists()


def rejected(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "rejected.jsonl").read_text().splitlines()]
