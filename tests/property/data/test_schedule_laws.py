"""The laws of a batch schedule, on random data full of repeated texts."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poolwise.data import Triple, build_schedule
from poolwise.errors import DataError

WORDS = st.sampled_from(["Alpha", "alpha ", "beta", "be  ta", "be ta", *(f"w{i}" for i in range(25))])
ROWS = st.lists(
    st.builds(
        Triple,
        query=WORDS,
        positive=WORDS,
        negatives=st.lists(WORDS, max_size=2).map(tuple),
        source=st.sampled_from(["a", "b", "c"]),
        row=st.just(1),
    ),
    max_size=80,
)


def normalised(text):
    return " ".join(text.lower().split())


@settings(max_examples=150, deadline=None)
@given(triples=ROWS, batch_size=st.integers(2, 6), steps=st.integers(1, 12), seed=st.integers(0, 3))
def test_batches_are_full_of_one_source_and_without_a_repeated_text(triples, batch_size, steps, seed):
    try:
        schedule = build_schedule(triples, steps=steps, batch_size=batch_size, seed=seed)
    except DataError:
        return
    assert len(schedule.batches) == steps
    for batch in schedule.batches:
        texts = [normalised(text) for row in batch for text in triples[row].texts]
        assert len(batch) == batch_size
        assert len(set(texts)) == len(texts)
        assert len({triples[row].source for row in batch}) == 1
    assert sum(schedule.steps_by_source.values()) == steps
    again = build_schedule(triples, steps=steps, batch_size=batch_size, seed=seed)
    assert again == schedule


@pytest.mark.parametrize("seed", range(5))
def test_each_source_gives_its_share_of_steps_rounded(seed):
    sizes = {"a": 50, "b": 33, "c": 17}
    triples = [Triple(f"{s} q{i}", f"{s} p{i}", (), s, i) for s, n in sizes.items() for i in range(n)]
    schedule = build_schedule(triples, steps=37, batch_size=3, seed=seed)
    for source, size in sizes.items():
        assert abs(schedule.steps_by_source[source] - 37 * size / 100) < 1


def test_no_source_comes_in_a_block():
    triples = [Triple(f"{s} q{i}", f"{s} p{i}", (), s, i) for s in "ab" for i in range(40)]
    schedule = build_schedule(triples, steps=40, batch_size=2, seed=0)
    first_half = Counter(triples[batch[0]].source for batch in schedule.batches[:20])
    assert min(first_half["a"], first_half["b"]) >= 5
