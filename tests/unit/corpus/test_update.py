"""A folder follows its input: resumed after SIGKILL anywhere, updated, and never with a row lost or doubled."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from corpus_folder import encode, encode_folder, rejected, require_whole, stored, vector, write_jsonl
from poolwise.corpus import engines, shards, update
from poolwise.corpus.engines import InProcesses, ShardWriter
from poolwise.corpus.manifest import SHARDS, WORK, Output, load_manifest
from poolwise.corpus.pace import Progress
from poolwise.errors import DataError, ModelError, explain

TEXTS = {f"d{number}": f"the text of document {number}" for number in range(18)}
CHANGED = {**{key: text for key, text in TEXTS.items() if key not in ("d0", "d7")}, "d3": "another text", "new": "one"}


def in_child(run: Callable[[], object]) -> int:
    """Run a function in a forked process and return its exit code: negative if a signal killed it."""
    child = multiprocessing.get_context("fork").Process(target=run)
    child.start()
    child.join(120)
    assert child.exitcode is not None
    return child.exitcode


def kill_at_call(owner: Any, name: str, number: int, *, after: bool) -> None:
    """Make a function kill this process at its ``number``-th call, before or after its work."""
    real, calls = getattr(owner, name), [0]

    def killing(*arguments: Any, **options: Any) -> Any:
        calls[0] += 1
        if calls[0] == number and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        found = real(*arguments, **options)
        if calls[0] == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    setattr(owner, name, killing)


PLACES = [
    (os, "fsync", 3, False),
    (shards, "rows_table", 1, False),
    (shards, "file_hash", 2, False),
    (update, "save_record", 2, False),
    (update, "save_record", 3, True),
    (update, "flush_file", 1, True),
    (update, "save_manifest", 1, False),
    (update, "save_manifest", 1, True),
    (update, "_delete_unnamed", 2, False),
]


@pytest.mark.parametrize("format_", ["parquet", "npy"])
@pytest.mark.parametrize(
    ("owner", "name", "number", "after"),
    PLACES,
    ids=lambda value: getattr(value, "__name__", str(value)).rpartition(".")[2],
)
def test_a_killed_run_resumes_to_the_same_folder(
    tmp_path: Path, owner: Any, name: str, number: int, after: bool, format_: str
) -> None:
    source = write_jsonl(tmp_path / "corpus.jsonl", TEXTS)
    whole, _ = encode_folder(tmp_path / "whole", [source], format=format_)

    def killed() -> None:
        # rows_table is called through the module that imported it.
        kill_at_call(engines if name == "rows_table" else owner, name, number, after=after)
        encode_folder(tmp_path / "out", [source], format=format_)

    assert in_child(killed) == -signal.SIGKILL
    resumed, _ = encode_folder(tmp_path / "out", [source], format=format_)
    require_whole(tmp_path / "out", TEXTS)
    assert resumed == whole


@pytest.mark.parametrize(
    ("owner", "name", "number", "after"),
    PLACES,
    ids=lambda value: getattr(value, "__name__", str(value)).rpartition(".")[2],
)
def test_a_killed_update_leaves_the_old_rows_or_all_new_ones(
    tmp_path: Path, owner: Any, name: str, number: int, after: bool
) -> None:
    source = write_jsonl(tmp_path / "corpus.jsonl", TEXTS)
    out = tmp_path / "out"
    encode_folder(out, [source])
    before = stored(out)
    write_jsonl(source, CHANGED)

    def killed() -> None:
        kill_at_call(engines if name == "rows_table" else owner, name, number, after=after)
        encode_folder(out, [source], shard_rows=1)

    code = in_child(killed)
    assert code in (-signal.SIGKILL, 0)
    assert code == -signal.SIGKILL or (name, number) == ("save_record", 3), "an update writes fewer shards"
    now = stored(out)  # what a reader sees between
    assert now == before or dict(now) == {key: vector(text).tolist() for key, text in CHANGED.items()}
    encode_folder(out, [source], shard_rows=1)
    require_whole(out, CHANGED)


class SecondFirst:
    """An engine whose second shard is finished first, and which is interrupted then."""

    def __init__(self, writer: ShardWriter) -> None:
        self._writer = writer

    def run(self, tasks: Any, on_rows: Any) -> Any:
        _, second = next(tasks), next(tasks)
        yield self._writer.write(second, encode(second.rows, on_rows))
        raise KeyboardInterrupt


def test_a_shard_that_is_missing_in_between_gets_its_number_and_place(tmp_path: Path) -> None:
    source, out = write_jsonl(tmp_path / "corpus.jsonl", TEXTS), tmp_path / "out"
    whole, _ = encode_folder(tmp_path / "whole", [source])
    with pytest.raises(KeyboardInterrupt):
        encode_folder(out, [source], engine=SecondFirst(ShardWriter(out, Output(dim=8))))
    resumed, done = encode_folder(out, [source])
    assert (resumed, done.num_known) == (whole, 4)


def test_kills_at_any_time_lose_and_double_nothing(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "corpus.jsonl", TEXTS)
    out = tmp_path / "out"

    def slow(rows: Any, on_rows: Any) -> np.ndarray:
        time.sleep(0.05)
        return encode(rows, on_rows)

    for number in range(6):
        child = multiprocessing.get_context("fork").Process(
            target=lambda: encode_folder(out, [source], encode=slow, shard_rows=2)
        )
        child.start()
        time.sleep(0.06 * number)
        os.kill(child.pid or 0, signal.SIGKILL)
        child.join()
    encode_folder(out, [source], shard_rows=2)
    require_whole(out, TEXTS)


def test_an_update_encodes_what_is_new_and_drops_what_is_gone(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "corpus.jsonl", TEXTS)
    out, read = tmp_path / "out", []
    encode_folder(out, [source])
    write_jsonl(source, CHANGED)

    def seen(rows: Any, on_rows: Any) -> np.ndarray:
        read.extend(row.id for row in rows)
        return encode(rows, on_rows)

    manifest, done = encode_folder(out, [source], encode=seen)
    require_whole(out, CHANGED)
    assert read == ["d3", "new"]
    assert (done.num_encoded, done.num_kept, done.num_known) == (2, 15, 18)
    assert encode_folder(out, [source], encode=seen)[0] == manifest
    assert read == ["d3", "new"]


def test_a_changed_kept_field_is_a_changed_row(tmp_path: Path) -> None:
    from poolwise.corpus.rows import Columns

    source, out = tmp_path / "corpus.jsonl", tmp_path / "out"
    write_jsonl(source, TEXTS, url="a")
    encode_folder(out, [source], columns=Columns(keep=("url",)))
    write_jsonl(source, TEXTS, url="b")
    _, done = encode_folder(out, [source], columns=Columns(keep=("url",)))
    assert done.num_encoded == len(TEXTS)
    table, _ = shards.load_shard(out, load_manifest(out).shards[0])
    assert set(table["url"].to_pylist()) == {"b"}


def test_a_damaged_shard_is_encoded_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source, out = write_jsonl(tmp_path / "corpus.jsonl", TEXTS), tmp_path / "out"
    encode_folder(out, [source])
    victim = sorted((out / SHARDS).iterdir())[1]
    raw = bytearray(victim.read_bytes())
    raw[40] ^= 1
    victim.write_bytes(raw)
    _, done = encode_folder(out, [source])
    require_whole(out, TEXTS)
    assert done.num_encoded == 4
    assert "is damaged or missing" in caplog.text


@pytest.mark.parametrize("text", ["", '{"_id": "a", "text": " "}\n'])
def test_an_input_without_a_usable_row_drops_nothing(tmp_path: Path, text: str) -> None:
    source, out = write_jsonl(tmp_path / "corpus.jsonl", TEXTS), tmp_path / "out"
    encode_folder(out, [source])
    source.write_text(text)
    with pytest.raises(DataError, match="no usable row in"):
        encode_folder(out, [source])
    assert len(stored(out)) == len(TEXTS)


def test_a_full_disk_is_one_error_and_leaves_a_folder_that_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = write_jsonl(tmp_path / "corpus.jsonl", TEXTS), tmp_path / "out"
    real, calls = shards._write_table, [0]

    def full(path: Path, table: Any) -> None:
        calls[0] += 1
        if calls[0] == 3:
            with Path("/dev/full").open("wb", buffering=0) as file:
                file.write(b"x")
        real(path, table)

    with monkeypatch.context() as patched:
        patched.setattr(shards, "_write_table", full)
        with pytest.raises(OSError) as raised:
            encode_folder(out, [source])
    assert raised.value.errno == errno.ENOSPC
    assert "the disk is full" in str(explain(raised.value))
    assert len(list((out / WORK).glob("*.json"))) == 2
    _, done = encode_folder(out, [source])
    require_whole(out, TEXTS)
    assert done.num_known == 8


def test_an_embedding_that_is_not_finite_is_set_aside(tmp_path: Path) -> None:
    source, out = write_jsonl(tmp_path / "corpus.jsonl", TEXTS), tmp_path / "out"

    def broken(rows: Any, on_rows: Any) -> np.ndarray:
        found = encode(rows, on_rows)
        found[[row.id == "d5" for row in rows]] = np.nan
        return found

    encode_folder(out, [source], encode=broken)
    require_whole(out, {key: text for key, text in TEXTS.items() if key != "d5"})
    assert [(row["id"], row["reason"]) for row in rejected(out)] == [("d5", "the embedding is not finite")]
    with pytest.raises(ModelError, match="none of 1 embeddings is finite"):
        encode_folder(out, [source], encode=broken)


@pytest.mark.slow
def test_several_processes_give_the_bytes_of_one(tmp_path: Path) -> None:
    import corpus_folder

    source = write_jsonl(tmp_path / "corpus.jsonl", TEXTS)
    one, _ = encode_folder(tmp_path / "one", [source])
    out = tmp_path / "two"
    engine = InProcesses(corpus_folder.open_encode, ShardWriter(out, Output(dim=8)), 2)
    two, _ = encode_folder(out, [source], engine=engine)
    assert one == two
    for path in (tmp_path / "one" / SHARDS).iterdir():
        assert path.read_bytes() == (out / SHARDS / path.name).read_bytes()


def test_progress_reaches_the_total_and_estimates_the_rest(tmp_path: Path) -> None:
    source, told = write_jsonl(tmp_path / "corpus.jsonl", TEXTS), list[Progress]()
    encode_folder(tmp_path / "out", [source], on_progress=told.append)
    assert [progress.num_done for progress in told] == sorted(progress.num_done for progress in told)
    assert (told[-1].num_done, told[-1].num_total) == (18, 18)
    assert told[-2].seconds_left is not None
