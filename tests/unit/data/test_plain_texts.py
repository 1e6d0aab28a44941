"""Texts alone: out of training rows, and out of sources that hold nothing else."""

import json

import pytest

from poolwise.data import Triple, load_plain_texts, texts_fingerprint, triple_texts
from poolwise.errors import DataError


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_every_text_of_training_rows_comes_once_in_order():
    triples = [Triple("q", "a", ("b", "c"), "s", 1), Triple("q", "c", (), "s", 2)]
    assert triple_texts(triples) == ["q", "a", "b", "c"]


def test_rows_are_texts_or_hold_one_or_are_training_rows(tmp_path):
    plain = write(tmp_path / "a.jsonl", ["one", {"text": "two", "id": 3}, "one"])
    pairs = write(tmp_path / "b.jsonl", [{"query": "two", "positive": "three", "negative": ["four"]}])
    assert load_plain_texts([plain, pairs]) == ["one", "two", "three", "four"]
    assert load_plain_texts([plain, plain]) == ["one", "two"]


def test_all_problems_are_named_at_once(tmp_path):
    with pytest.raises(DataError, match=r"(?s)2 problem.*absent\.jsonl.*missing\.jsonl"):
        load_plain_texts([str(tmp_path / "absent.jsonl"), str(tmp_path / "missing.jsonl")])
    bad = write(tmp_path / "bad.jsonl", ["fine", {"text": " "}, 3, {"body": "x"}])
    with pytest.raises(
        DataError,
        match=r"(?s)bad rows of texts: 3 problem.*:2: empty text.*:3: wanted a JSON object.*:4: unknown training",
    ):
        load_plain_texts([bad])


def test_the_fingerprint_sees_texts_order_and_where_they_end():
    assert texts_fingerprint(["ab", "c"]) == texts_fingerprint(["ab", "c"])
    assert len({texts_fingerprint(texts) for texts in (["ab", "c"], ["c", "ab"], ["a", "bc"], ["abc"], [])}) == 5


def test_a_table_with_a_column_of_texts(tmp_path):
    (tmp_path / "a.csv").write_text("id,text\n1,one\n2,two\n")
    assert load_plain_texts([str(tmp_path / "a.csv")]) == ["one", "two"]
    (tmp_path / "b.csv").write_text("id,body\n1,one\n2,two\n")
    with pytest.raises(DataError, match=r"b\.csv: in all 2 rows: unknown training format .* or a `text` field"):
        load_plain_texts([str(tmp_path / "b.csv")])
