"""What may not be indexed, and what a build that fails leaves behind: nothing."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from corpus_folder import DIM, encode_folder, write_jsonl
from poolwise.corpus.manifest import SHARDS, load_manifest, save_manifest
from poolwise.corpus.shards import load_shard, save_shard
from poolwise.errors import ConfigError, DataError
from poolwise.search import build_index
from poolwise.search.index_record import INDEX, ROWS, SCALES, VECTORS, WORDS
from poolwise.storage.lock import locked
from search_folder import build, texts_of, write_corpus


def require_nothing(folder: Path) -> None:
    """Check that no index and no part of one is there."""
    assert [path.name for path in folder.iterdir() if "index" in path.name] == []


def refused(folder: Path, corpus: Path, told: str, kind: type[Exception] = DataError, **options: object) -> None:
    with pytest.raises(kind, match=told):
        build_index(corpus, folder / "index", **options)  # type: ignore[arg-type]
    require_nothing(folder)


def test_a_truncated_shard_is_named(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path)
    shard = sorted((corpus / SHARDS).iterdir())[1]
    shard.write_bytes(shard.read_bytes()[:-20])
    refused(tmp_path, corpus, f"{shard.name} is damaged, truncated or missing; .*run poolwise encode again")
    shard.unlink()
    refused(tmp_path, corpus, f"{shard.name} is damaged, truncated or missing")


def test_a_shard_of_another_width_is_named(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path)
    manifest = load_manifest(corpus)
    table, matrix = load_shard(corpus, manifest.shards[1])
    other = save_shard(corpus, 1, table, np.ones((len(matrix), DIM + 4), np.float32), manifest.output)
    shards = [manifest.shards[0], other, *manifest.shards[2:]]
    save_manifest(manifest.model_copy(update={"shards": shards}), corpus)
    told = rf"{other.files[0].name} has vectors of shape \({DIM + 4},\) in float32; wanted {DIM} numbers"
    refused(tmp_path, corpus, told)


def test_a_shard_of_another_corpus_is_refused(tmp_path: Path) -> None:
    corpus, other = write_corpus(tmp_path / "a"), write_corpus(tmp_path / "b", 20)
    mine, theirs = (sorted((folder / SHARDS).iterdir())[0] for folder in (corpus, other))
    shutil.copy(theirs, mine)
    mine.write_bytes(mine.read_bytes()[:-1] + b"?")
    refused(tmp_path, corpus, f"{mine.name} is damaged")


def test_two_models_in_one_manifest_are_refused(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path)
    manifest = load_manifest(corpus)
    save_manifest(manifest.model_copy(update={"fingerprint": "0" * 16}), corpus)
    refused(tmp_path, corpus, "names two models")


def test_an_id_that_repeats_is_named(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path)
    manifest = load_manifest(corpus)
    doubled = [*manifest.shards, manifest.shards[0]]
    changes = {"shards": doubled, "num_rows": sum(shard.num_rows for shard in doubled)}
    save_manifest(manifest.model_copy(update=changes), corpus)
    refused(tmp_path, corpus, r"has 8 ids more than once, such as 'd0' \(2 rows\)")


def test_a_corpus_that_is_not_finished_or_in_use_is_refused(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path)
    with locked(corpus):
        refused(tmp_path, corpus, "is in use by process", ConfigError)
    save_manifest(load_manifest(corpus).model_copy(update={"is_complete": False}), corpus)
    refused(tmp_path, corpus, "is not encoded to its end; run poolwise encode again: it resumes")
    refused(tmp_path, tmp_path / "nowhere", "has no manifest.json")


def test_a_folder_of_something_else_is_kept(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"mine holds notes.txt; wanted a new folder"):
        build_index(corpus, tmp_path / "mine")
    for out in (corpus, corpus / "index"):
        with pytest.raises(ConfigError, match="lies in the corpus"):
            build_index(corpus, out)
    assert (tmp_path / "mine" / "notes.txt").read_text() == "mine"
    (tmp_path / "mine" / "notes.txt").rename(tmp_path / "mine" / "index.json.partial")
    build_index(corpus, tmp_path / "mine").close()
    assert not (tmp_path / "mine" / "index.json.partial").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"backend": "exat"}, "--backend exat; wanted a backend; did you mean 'exact'"),
        ({"settings": {"oversampel": 2}}, "unknown key 'oversampel'; did you mean 'oversample'"),
        ({"settings": {"oversample": 0}}, "oversample: .*greater than or equal to 1"),
        ({"similarity": "euclidean"}, "similarity euclidean; wanted one of cosine, dot"),
    ],
)
def test_options_that_cannot_be_used_are_refused(tmp_path: Path, options: dict[str, object], told: str) -> None:
    refused(tmp_path, write_corpus(tmp_path, 10), told, ConfigError, **options)


@pytest.mark.parametrize("name", [VECTORS, SCALES, ROWS, WORDS, f"{INDEX}.partial"])
def test_a_full_disk_leaves_nothing_and_keeps_the_index_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    build(tmp_path, 10).close()
    before = {path.name: path.read_bytes() for path in (tmp_path / "index").glob("*.*")}
    corpus = write_corpus(tmp_path / "more", 20)
    if name == SCALES:
        corpus = to_float16(corpus)
    opened = Path.open

    def full(path: Path, mode: str = "r", *args: Any, **options: Any) -> Any:
        # Only to write: reading /dev/full never ends.
        return opened(Path("/dev/full") if path.name == name and mode == "wb" else path, mode, *args, **options)

    def saved(path: Path, *_: Any, **__: Any) -> None:
        raise OSError("20 requested and 0 written")  # numpy's error for a full disk

    monkeypatch.setattr(Path, "open", full)
    if name == WORDS:
        monkeypatch.setattr("numpy.save", saved)
    with pytest.raises(OSError, match="No space left") as raised:
        build_index(corpus, tmp_path / "index", hybrid=name == WORDS, replace=True)
    assert raised.value.errno == errno.ENOSPC
    assert {path.name: path.read_bytes() for path in (tmp_path / "index").glob("*.*")} == before
    assert sorted(path.name for path in tmp_path.iterdir() if "index" in path.name) == ["index"]


def to_float16(corpus: Path) -> Path:
    """Store the vectors of a corpus in float16."""
    manifest = load_manifest(corpus)
    output = manifest.output.model_copy(update={"dtype": "float16"})
    shards = []
    for shard in manifest.shards:
        table, matrix = load_shard(corpus, shard)
        shards.append(save_shard(corpus, shard.number, table, matrix.astype(np.float16), output))
    save_manifest(manifest.model_copy(update={"output": output, "shards": shards}), corpus)
    return corpus


KILLED = """
import sys, time
from poolwise.search import build, build_index
def wait(*_):
    print("ready", flush=True)
    time.sleep(60)
build.save_index_record = wait
build_index(sys.argv[1], sys.argv[2])
"""


def test_a_build_that_is_killed_leaves_no_index_and_the_next_one_clears_up(tmp_path: Path) -> None:
    corpus, out = write_corpus(tmp_path), tmp_path / "index"
    asked = [sys.executable, "-c", KILLED, str(corpus), str(out)]
    running = subprocess.Popen(asked, stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    running.kill()
    running.wait()
    running.stdout.close()
    assert not out.exists() and (tmp_path / "index.partial" / VECTORS).is_file()
    with build_index(corpus, out) as index:
        assert len(index) == 30
    require = sorted(path.name for path in tmp_path.iterdir() if "index" in path.name)
    assert require == ["index"]


def test_what_the_record_says(tmp_path: Path) -> None:
    record = build(tmp_path, 12, query_prompt="query: ").record
    assert (record.num_rows, record.dim, record.similarity, record.backend) == (12, DIM, "cosine", "exact")
    assert (record.query_prompt, record.is_prompt_given, record.keeps_text) == ("query: ", True, True)
    assert record.fields == ("lang", "year")
    assert record.model.name == "fake"
    assert {file.name for file in record.files} == {"rows.arrow", "vectors.npy"}
    stored = json.loads((tmp_path / "index" / "index.json").read_text())
    assert stored["checksum"] == record.seal


def test_a_corpus_in_the_other_format_is_the_same_index(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", texts_of(10))
    for form in ("parquet", "npy"):
        encode_folder(tmp_path / form, [source], format=form)
        build_index(tmp_path / form, tmp_path / f"{form}-index").close()
    first, second = (tmp_path / f"{form}-index" / "vectors.npy" for form in ("parquet", "npy"))
    assert first.read_bytes() == second.read_bytes()
