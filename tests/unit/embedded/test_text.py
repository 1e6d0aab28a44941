"""Names as words, shingles and near duplicates, on texts whose overlap can be counted."""

from __future__ import annotations

import pytest

from poolwise.embedded.pydoc_text import NearDuplicates, normalise, shingles, split_name


@pytest.mark.parametrize(
    ("name", "spoken"),
    [
        ("HTTPServer.get_request", "HTTP server get request"),
        ("MyHTTPThing", "my HTTP thing"),
        ("__init__", "init"),
        ("path.isdir", "path isdir"),
        ("X", "x"),
    ],
)
def test_split_name(name: str, spoken: str) -> None:
    assert split_name(name) == spoken


def test_shingles_are_runs_of_four_words() -> None:
    assert shingles("One two, three four: FIVE") == {"one two three four", "two three four five"}
    assert shingles("b A") == {"a b"}
    assert shingles("...") == frozenset()


def test_normalise_drops_case_and_punctuation() -> None:
    assert normalise("It's  a (Test)!") == "it s a test"


def test_near_by_half_of_the_shingles() -> None:
    # The texts below share 3 of 5 shingles, then 1 of 7.
    index = NearDuplicates(["one two three four five six seven"])
    assert "zero two three four five six seven" in index
    assert "one two three four eight nine ten" not in index


def test_near_when_the_shorter_is_contained() -> None:
    short = "one two three four five six seven"
    long = f"{short} and then many other words follow it until the whole text is far longer than before"
    assert long in NearDuplicates([short])
    assert short in NearDuplicates([long])
    assert "one two three four" not in NearDuplicates([long])


def test_short_texts_are_near_in_any_order() -> None:
    assert "file close" in NearDuplicates(["Close file!"])
    assert "" not in NearDuplicates([""])
