"""Items that share texts are found, on any side, and a text that links nearly everything is not followed."""

from __future__ import annotations

import logging

import pytest

from poolwise.tasks.dependence import groups_by_documents, groups_by_text


def partition(groups: tuple[str, ...]) -> list[list[int]]:
    found: dict[str, list[int]] = {}
    for place, name in enumerate(groups):
        found.setdefault(name, []).append(place)
    return sorted(found.values())


OTHERS = [f"other {number}" for number in range(40)]


def test_a_sentence_links_pairs_on_either_side() -> None:
    first = ["a", "b", "c", *OTHERS]
    second = ["x", "a", "y", *(f"{text}!" for text in OTHERS)]
    assert partition(groups_by_text("sts/t", first, second))[:2] == [[0, 1], [2]]
    # One column alone does not repeat.
    assert groups_by_text("sts/t", first) == ()


def test_links_go_on() -> None:
    first, second = ["a", "b", "d", *OTHERS], ["b", "c", "c", *(f"{text}!" for text in OTHERS)]
    assert partition(groups_by_text("sts/t", first, second))[0] == [0, 1, 2]


def test_a_sentence_in_most_pairs_is_not_followed(caplog: pytest.LogCaptureFixture) -> None:
    first = ["a", "a", *OTHERS]
    second = ["same"] * len(first)
    with caplog.at_level(logging.WARNING):
        assert partition(groups_by_text("sts/t", first, second))[:2] == [[0, 1], [2]]
    assert "common texts link 42 of 42 items" in caplog.text


def test_queries_of_one_text_one_document_or_one_article() -> None:
    ids = [f"q{number}" for number in range(46)]
    queries = ["same?", "same?", "c?", "d?", "e?", "f?", *OTHERS]
    texts = {f"d{number}": ("", f"text {number}") for number in range(46)}
    texts |= {"d4": ("Art", "first half"), "d5": ("Art", "second half")}
    qrels = {query: {f"d{number}": 1} for number, query in enumerate(ids)}
    qrels["q3"] = {"d3": 1, "d2": 2, "d9": 0}
    groups = partition(groups_by_documents("retrieval/t", ids, queries, qrels, texts))
    assert groups[:4] == [[0, 1], [2, 3], [4, 5], [6]]


def test_documents_with_equal_texts_are_one() -> None:
    ids = [f"q{number}" for number in range(42)]
    texts = {f"d{number}": ("", f"text {number}") for number in range(42)} | {"d1": ("", "text 0")}
    qrels = {query: {f"d{number}": 1} for number, query in enumerate(ids)}
    assert partition(groups_by_documents("retrieval/t", ids, ids, qrels, texts))[0] == [0, 1]


def test_independent_items_have_no_groups() -> None:
    assert groups_by_text("sts/t", OTHERS, [f"{text}!" for text in OTHERS]) == ()


def test_one_text_in_every_item_takes_memory_in_proportion() -> None:
    """Links between all pairs of 20,000 items would take gigabytes."""
    count = 20_000
    found = groups_by_text("t", ["the same"] * count, [f"another {n}" for n in range(count)])
    assert len(found) == count and len(set(found)) == 1
