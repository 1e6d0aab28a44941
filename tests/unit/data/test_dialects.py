"""Each dialect gives the same triple, and a bad row says which field is wrong."""

import pytest

from poolwise.data.dialects import DIALECTS, RowError, detect_dialect, parse_row

ROWS = {
    "anchor/positive/negative": {"negative_2": "c", "negative_1": "b", "positive": "p", "anchor": "q"},
    "FlagEmbedding": {"neg": ["b", "c"], "query": "q", "pos": ["p"]},
    "Tevatron": {
        "query_id": "1",
        "query": "q",
        "positive_passages": [{"docid": "7", "title": "", "text": "p"}],
        "negative_passages": [{"docid": "8", "text": "b"}, {"docid": "9", "text": "c"}],
    },
    "query/positive/negative": {"negative": ["b", "c"], "positive": "p", "query": "q"},
}


@pytest.mark.parametrize("name", [dialect.name for dialect in DIALECTS])
def test_each_dialect_is_detected_and_read_whatever_the_order_of_its_fields(name):
    for row in (ROWS[name], dict(reversed(ROWS[name].items()))):
        dialect = detect_dialect(row)
        assert dialect.name == name
        assert parse_row(row, dialect) == [("q", "p", ("b", "c"))]


def test_numbered_negatives_are_ordered_by_number():
    row = {"anchor": "q", "positive": "p"} | {f"negative_{i}": f"n{i}" for i in (10, 2, 1)}
    assert parse_row(row, detect_dialect(row))[0][2] == ("n1", "n2", "n10")


def test_several_positives_give_one_row_each_and_repeated_negatives_one_text():
    row = {"query": "q", "pos": ["p", "r"], "neg": ["n", "n"]}
    assert parse_row(row, detect_dialect(row)) == [("q", "p", ("n",)), ("q", "r", ("n",))]


def test_negatives_may_be_absent_or_null():
    for row in ({"query": "q", "positive": "p"}, {"query": "q", "positive": "p", "negative": None}):
        assert parse_row(row, detect_dialect(row)) == [("q", "p", ())]


def test_a_passage_title_stands_before_its_text():
    row = {"query": "q", "positive_passages": [{"title": "T", "text": "x"}]}
    assert parse_row(row, detect_dialect(row)) == [("q", "T x", ())]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"query": "q"}, "field 'positive' is missing"),
        ({"query": "q", "positive": []}, "field 'positive' is empty"),
        ({"query": " ", "positive": "p"}, "empty text in 'query'"),
        ({"query": "q", "positive": "p", "negative": "\t"}, "empty text in 'negative'"),
        ({"query": 3, "positive": "p"}, "field 'query' holds int"),
        ({"query": ["q", "r"], "positive": "p"}, "2 texts in 'query'"),
        ({"query": "q", "positive": {"title": "T"}}, "a passage of 'positive' has no 'text'"),
        ({"query": "q", "positive": "half \ud83d"}, "half a surrogate pair in 'positive'"),
        (["q", "p"], "wanted a JSON object, got list"),
    ],
)
def test_a_bad_row_says_what_is_wrong(row, message):
    with pytest.raises(RowError, match=message):
        parse_row(row, DIALECTS[-1])


def test_unknown_fields_are_shown_with_the_known_dialects():
    with pytest.raises(RowError, match=r"fields left, right; wanted anchor\+positive, query\+pos"):
        detect_dialect({"left": "a", "right": "b"})


def test_a_field_with_thousands_of_digits_is_no_negative():
    row = {"anchor": "q", "positive": "p", "negative_1": "n", "negative_" + "9" * 5000: "m"}
    assert parse_row(row, detect_dialect(row)) == [("q", "p", ("n",))]
