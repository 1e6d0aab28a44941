"""``encode_corpus``: a corpus of any size into a folder of embeddings, resumable and updated by the same call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from poolwise.corpus.engines import Engine, InProcesses, InThisProcess, ShardWriter
from poolwise.corpus.inputs import find_tables
from poolwise.corpus.manifest import (
    MANIFEST,
    RANGES,
    WORK,
    Manifest,
    load_manifest,
    require_same,
    save_manifest,
)
from poolwise.corpus.pace import OnProgress, Pace
from poolwise.corpus.quantise import CALIBRATION_ROWS, find_ranges
from poolwise.corpus.rows import Row
from poolwise.corpus.settings import CorpusConfig
from poolwise.corpus.update import Update
from poolwise.errors import ConfigError, DataError
from poolwise.freed_memory import release_freed_memory
from poolwise.storage.arrays import load_array
from poolwise.storage.fingerprints import file_hash
from poolwise.storage.lock import locked
from poolwise.storage.new_folders import held_names
from poolwise.storage.whole_files import whole_file

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from poolwise.corpus.opened import OpenedModel
    from poolwise.jobs.ray_cluster import Cluster


@dataclass(frozen=True)
class Summary:
    """What one call did: rows read, and rows of the folder, which are chunks if documents are split."""

    manifest: Manifest
    num_read: int
    num_encoded: int
    num_kept: int
    num_dropped: int
    num_rejected: int


def encode_corpus(
    model: str | SentenceTransformer,
    inputs: Sequence[str],
    out: Path,
    config: CorpusConfig,
    on_progress: OnProgress = lambda _: None,
) -> Summary:
    """Encode every row of the inputs into a folder, and return what was done.

    The same call resumes after an interruption, and updates a finished folder: it encodes new and changed rows and
    drops those that the inputs no longer have.

    Args:
        model: a folder, a run's folder, a hub id, or a loaded model, with which ``processes`` must be 1.
        inputs: files, folders, patterns, URLs, data sets of the hub, or "-" for standard input.
    Raises: DataError for inputs that cannot be read (missing ones before the model is loaded); OSError for a full disk;
        ConfigError where ``out`` holds something else, was encoded with another model or options, or is in use;
        ModelError where the model cannot be loaded, or cannot be loaded by a node of the cluster.
    """
    if not isinstance(model, str) and (config.engine == "ray" or (config.processes or 1) > 1):
        raise ConfigError("several processes with a loaded model", "wanted the name of a model, which each loads")
    _require_own(out)
    try:
        with _connected(config) as cluster:
            return _encode(model, inputs, out, config, on_progress, cluster)
    finally:
        release_freed_memory()  # a process that encodes again and again keeps more of it each time


@contextmanager
def _connected(config: CorpusConfig) -> Iterator[Cluster | None]:
    if config.engine == "local":
        yield None
        return
    from poolwise.jobs.ray_cluster import connected

    with connected(config.ray_address) as cluster:
        yield cluster


def _encode(
    model: str | SentenceTransformer,
    inputs: Sequence[str],
    out: Path,
    config: CorpusConfig,
    on_progress: OnProgress,
    cluster: Cluster | None,
) -> Summary:
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        (out / WORK).mkdir(exist_ok=True)
        tables = find_tables(inputs, config.split, out / WORK)
        if own := [table.name for table in tables if Path(table.name).resolve().is_relative_to(out.resolve())]:
            raise DataError(f"{own[0]} lies in --out {out}", "wanted inputs outside it", "give a pattern without it")
        from poolwise.corpus.opened import open_model

        opened = open_model(model, config)
        manifest = _begin(out, opened)
        update = Update(
            out,
            tables,
            config.columns,
            chunker=opened.chunker,
            shard_rows=config.shard_rows,
            is_strict=config.is_strict,
        )
        try:
            rows = update.new_rows()
            ranges, rows = _ranges(out, manifest, rows, opened) if config.dtype == "int8" else (None, rows)
            engine = _engine(model, config, opened, ShardWriter(out, opened.output, ranges), cluster)
            del opened  # with several processes, this one needs no model any more
            counts = [table.num_rows for table in tables]
            total = None if None in counts else sum(count for count in counts if count is not None)
            before = update.num_known
            manifest = update.run(engine, rows, Pace(total, on_progress))
        finally:
            update.close()
    return Summary(
        manifest=manifest,
        num_read=update.num_read,
        num_encoded=update.num_encoded,
        num_kept=update.num_kept,
        num_dropped=before - update.num_kept,
        num_rejected=update.num_rejected,
    )


def _require_own(out: Path) -> None:
    """Raise ConfigError where a folder holds something that is not an encoded corpus."""
    if not (out / MANIFEST).is_file() and (other := held_names(out, but=[WORK])):
        raise ConfigError(
            f"--out {out} holds {', '.join(other[:5])}", "wanted a new folder, or one that poolwise encode wrote"
        )


def _begin(out: Path, opened: OpenedModel) -> Manifest:
    """Return the folder's manifest; a new folder gets one that is not complete.

    Raises: ConfigError where the folder was encoded with another model or output.
    """
    if (out / MANIFEST).is_file():
        manifest = load_manifest(out)
        require_same(out, manifest, opened.fingerprint, opened.output)
        return manifest
    manifest = Manifest(
        model=opened.fingerprint,
        fingerprint=opened.fingerprint.fingerprint,
        query_prompt=opened.query_prompt,
        similarity=opened.similarity,
        output=opened.output,
    )
    save_manifest(manifest, out)
    return manifest


def _ranges(
    out: Path, manifest: Manifest, rows: Iterator[list[Row]], opened: OpenedModel
) -> tuple[Float[np.ndarray, "2 D"], Iterator[list[Row]]]:
    """Return the ranges of int8, and the rows again; they are taken once from a corpus's first rows, and kept.

    Raises: DataError where the ranges that the folder was encoded with are gone.
    """
    path = out / RANGES
    if manifest.ranges_sha256 is not None:
        if not path.is_file() or file_hash(path) != manifest.ranges_sha256:
            raise DataError(f"{path} is missing or changed", "wanted the ranges that the shards were made with")
        return load_array(path), rows
    first: list[list[Row]] = []
    size = 0
    for found in rows:
        first.append(found)
        size += len(found)
        if size >= CALIBRATION_ROWS:
            break
    vectors = opened.encode([row for found in first for row in found], lambda _: None)
    ranges = find_ranges(vectors[np.isfinite(vectors).all(axis=1)])
    with whole_file(path) as file:
        np.save(file, ranges)
    save_manifest(manifest.model_copy(update={"ranges_sha256": file_hash(path)}), out)
    return ranges, chain(first, rows)


def _engine(
    model: str | SentenceTransformer,
    config: CorpusConfig,
    opened: OpenedModel,
    writer: ShardWriter,
    cluster: Cluster | None,
) -> Engine:
    if cluster is not None:
        assert isinstance(model, str)
        return _on_ray(model, config, opened, writer, cluster)
    processes = config.processes or 1
    if processes == 1:
        return InThisProcess(opened.encode, writer)
    from poolwise.corpus.opened import open_encode
    from poolwise.jobs import share_gpus
    from poolwise.kernels.devices import require_processes
    from poolwise.ranks import visible_gpus

    gpus = [] if config.device == "cpu" else visible_gpus()
    require_processes(processes, config.device, len(gpus))
    assert isinstance(model, str)
    return InProcesses(
        partial(open_encode, model, config, opened.fingerprint.prompt),
        writer,
        processes,
        share_gpus(gpus, processes) if gpus else [],
    )


def _on_ray(model: str, config: CorpusConfig, opened: OpenedModel, writer: ShardWriter, cluster: Cluster) -> Engine:
    from poolwise.corpus.opened import open_same
    from poolwise.corpus.ray_engine import OnRay
    from poolwise.jobs.ray_cluster import share_cluster

    name = str(Path(model).resolve()) if Path(model).is_dir() else model
    share = share_cluster(cluster.nodes(), config.processes, gpus=0 if config.device == "cpu" else 1)
    return OnRay(partial(open_same, name, config, opened.fingerprint), writer, cluster, share)
