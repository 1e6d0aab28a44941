"""Engines: what is read ahead, errors of other threads, and an interruption."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from corpus_folder import encode, encode_folder, require_whole, write_jsonl
from poolwise.corpus.engines import read_ahead
from poolwise.corpus.manifest import WORK


def test_one_item_is_made_ahead_and_no_more() -> None:
    made: list[int] = []
    is_made = threading.Event()

    def items() -> Iterator[int]:
        for number in range(9):
            made.append(number)
            if number == 3:
                is_made.set()
            yield number

    with read_ahead(items()) as ahead:
        assert [next(ahead), next(ahead)] == [0, 1]
        assert is_made.wait(10)  # 2 waits in the queue, and 3 for its place there
        assert made == [0, 1, 2, 3]


def test_an_error_of_the_items_is_raised_where_they_are_consumed() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    with read_ahead(items()) as ahead, pytest.raises(ValueError, match="broken"):
        list(ahead)


def test_an_interruption_keeps_the_finished_shards(tmp_path: Path) -> None:
    texts = {f"d{number}": f"text {number}" for number in range(20)}
    source, out, calls = write_jsonl(tmp_path / "c.jsonl", texts), tmp_path / "out", [0]

    def interrupted(rows: list, on_rows: object) -> np.ndarray:  # type: ignore[type-arg]
        calls[0] += 1
        if calls[0] == 4:
            raise KeyboardInterrupt
        return encode(rows, lambda _: None)

    with pytest.raises(KeyboardInterrupt):
        encode_folder(out, [source], encode=interrupted)
    assert list((out / WORK).glob("*.json"))
    _, done = encode_folder(out, [source])
    require_whole(out, texts)
    assert 0 < done.num_known < 20
