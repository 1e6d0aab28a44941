"""Batches worked out by hand: counts per source, hashes, storage, errors."""

import json

import pytest

from poolwise.data import Triple, build_schedule, load_schedule, save_schedule
from poolwise.data.schedule import _first_fit
from poolwise.errors import DataError


def rows(source, count, negatives=0):
    return [
        Triple(f"{source} q{i}", f"{source} p{i}", tuple(f"{source} n{i}.{j}" for j in range(negatives)), source, i)
        for i in range(count)
    ]


def test_sources_are_drawn_in_proportion_to_their_rows():
    triples = rows("a", 60) + rows("b", 20) + rows("c", 20)
    schedule = build_schedule(triples, steps=10, batch_size=4, seed=0)
    assert schedule.steps_by_source == {"a": 6, "b": 2, "c": 2}


def test_an_epoch_uses_every_row_once_before_any_comes_back():
    schedule = build_schedule(rows("a", 12), steps=6, batch_size=4, seed=3)
    first, second = schedule.batches[:3], schedule.batches[3:]
    assert sorted(i for batch in first for i in batch) == list(range(12))
    assert sorted(i for batch in second for i in batch) == list(range(12))
    assert first != second


def test_a_source_with_and_without_negatives_gives_separate_batches():
    triples = rows("a", 8, negatives=1) + rows("a", 8)
    schedule = build_schedule(triples, steps=4, batch_size=4, seed=0)
    kinds = [{bool(triples[i].negatives) for i in batch} for batch in schedule.batches]
    assert all(len(kind) == 1 for kind in kinds)
    assert [kind.pop() for kind in kinds].count(True) == 2


def test_parts_too_small_alone_are_trained_on_together():
    triples = rows("a", 3, negatives=1) + [Triple(f"x{i}", f"y{i}", (), "a", i) for i in range(3)]
    schedule = build_schedule(triples, steps=1, batch_size=6, seed=0)
    assert sorted(schedule.batches[0]) == list(range(6))
    assert schedule.unused == {}


def test_rows_that_are_in_no_batch_are_counted_with_the_reason(caplog):
    triples = [*rows("a", 4), *rows("b", 2), Triple("Same  text", "same TEXT", (), "a", 9)]
    schedule = build_schedule(triples, steps=1, batch_size=4, seed=0)
    assert schedule.unused == {
        "the row contains a text twice": 1,
        "too few rows of this kind in b for a batch of 4": 2,
    }
    assert "training rows left out of every batch: 2 (too few rows of this kind in b for a batch of 4" in caplog.text


def test_fewer_rows_than_one_batch_is_an_error_with_counts_and_what_to_lower():
    with pytest.raises(DataError, match=r"5 training rows give no batch of 8 .*in a.*lower train.batch_size"):
        build_schedule(rows("a", 5), steps=1, batch_size=8, seed=0)


def test_rows_enough_but_texts_that_repeat_is_the_same_error():
    triples = [Triple(f"q{i}", ("so it is", "So  it is", " so it IS")[i % 3], (), "a", i) for i in range(20)]
    with pytest.raises(DataError, match="20 training rows give no batch of 2"):
        build_schedule(triples, steps=1, batch_size=2, seed=0)


def test_no_steps_need_no_rows():
    assert build_schedule([], steps=0, batch_size=32, seed=0).batches == []


def test_first_fit_puts_a_repeated_text_into_the_next_batch():
    keys = [(0,), (0,), (1,), (2,), (3,), (4,)]
    # Row 1 repeats row 0's key and waits in the second batch, which rows 4 and 5 then fill.
    assert list(_first_fit([0, 1, 2, 3, 4, 5], keys, 3)) == [[0, 2, 3], [1, 4, 5]]


def test_the_hash_follows_texts_and_order_but_not_the_name_of_the_file():
    triples = rows("a", 20)
    hashes = {
        "same": build_schedule(triples, steps=3, batch_size=4, seed=0).hash,
        "seed": build_schedule(triples, steps=3, batch_size=4, seed=1).hash,
        "text": build_schedule([*triples[:-1], Triple("other", "p", (), "a", 19)], steps=3, batch_size=4, seed=0).hash,
    }
    assert len(set(hashes.values())) == 3
    renamed = [Triple(t.query, t.positive, t.negatives, "elsewhere", t.row) for t in triples]
    assert build_schedule(renamed, steps=3, batch_size=4, seed=0).hash == hashes["same"]


def test_a_stored_schedule_comes_back_equal(tmp_path):
    schedule = build_schedule(rows("a", 20), steps=3, batch_size=4, seed=0)
    save_schedule(schedule, tmp_path / "deep" / "schedule.json")
    assert load_schedule(tmp_path / "deep" / "schedule.json") == schedule


@pytest.mark.parametrize("damage", ["cut", "order", "field"])
def test_a_damaged_schedule_is_refused(tmp_path, damage):
    path = tmp_path / "schedule.json"
    save_schedule(build_schedule(rows("a", 20), steps=3, batch_size=4, seed=0), path)
    tree = json.loads(path.read_text())
    if damage == "order":
        tree["batches"].reverse()
    elif damage == "field":
        del tree["batches"]
    path.write_text(json.dumps(tree)[: 30 if damage == "cut" else None])
    with pytest.raises(DataError, match="batch schedule"):
        load_schedule(path)


def test_a_schedule_knows_its_data():
    triples = rows("a", 20)
    schedule = build_schedule(triples, steps=1, batch_size=4, seed=0)
    schedule.check_data(triples)
    with pytest.raises(DataError, match="other data"):
        schedule.check_data(triples[::-1])
