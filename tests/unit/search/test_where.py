"""Conditions select the rows that a reader would select, and say what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from corpus_folder import encode_folder
from poolwise.corpus.rows import Columns
from poolwise.errors import ConfigError
from poolwise.search import Index, build_index

ROWS = [
    {"_id": "a", "text": "red", "lang": "en", "year": 2019, "day": "2019-05-01", "ok": True, "code": "007"},
    {"_id": "b", "text": "green", "lang": "de", "year": 2020.5, "day": "2020-01-31", "ok": False, "code": "7"},
    {"_id": "c", "text": "blue", "lang": "en", "year": "2021", "day": "2021-12-01", "code": "x"},
    {"_id": "d", "text": "white", "day": "", "year": "soon", "ok": None},
]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    import json

    folder = tmp_path_factory.mktemp("where")
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    columns = Columns(keep=("lang", "year", "day", "ok", "code"))
    encode_folder(folder / "corpus", [folder / "rows.jsonl"], columns=columns, shard_rows=3)
    return build_index(folder / "corpus", folder / "index")


@pytest.mark.parametrize(
    ("where", "wanted"),
    [
        ("lang=en", "ac"),
        ({"lang": "en"}, "ac"),
        ("lang!=en", "bd"),
        ({"lang": None}, "d"),
        ({"lang": {"!=": None}}, "abc"),
        ({"lang": ["en", "de"]}, "abc"),
        ({"lang": ("de",)}, "b"),
        ("year>=2020", "bc"),
        ("year < 2021", "ab"),
        ("year>2019", "bc"),
        ("year<=2019", "a"),
        ({"year": {">": 2019, "<": 2021}}, "b"),
        ({"year": 2021}, "c"),
        ("year=2021", "c"),
        ("year=soon", "d"),
        ("day>=2020-01-01", "bc"),
        ({"day": {"<": "2020-01-01", ">": ""}}, "a"),
        ("day=", "d"),
        ("code=007", "a"),
        ({"code": 7}, "ab"),
        ({"ok": True}, "a"),
        ({"ok": False}, "b"),
        ("id=b", "b"),
        (["lang=en", "year>=2020"], "c"),
        ({"lang": "en", "year": {">=": 2020}}, "c"),
        ({"lang": "fr"}, ""),
    ],
)
def test_rows_that_match(index: Index, where: Any, wanted: str) -> None:
    (hits,) = index.search(np.ones((1, 8)), 4, where=where)
    assert sorted(hit.id for hit in hits) == list(wanted)


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ("lang", r"--where lang; wanted FIELD=VALUE"),
        ("=en", "--where =en; wanted FIELD=VALUE"),
        ("lnag=en", "'lnag' is not stored; did you mean 'lang'"),
        ({"lang": {"~": 1}}, "where lang '~'; wanted one of =, !="),
        ({"lang": {"<": None}}, "where lang < None; wanted a text or a number"),
        ({"lang": {"<": True}}, "where lang < True; wanted a text or a number"),
        ("lang=\ud800", r"where lang: '\\ud800' is not UTF-8; wanted text"),
        ({"lang": ["en", "\udcff"]}, "is not UTF-8; wanted text"),
        ({"lang": {"in": "en"}}, "where lang in 'en'; wanted a list"),
        ({"lang": {"in": 3}}, "where lang in 3; wanted a list"),
        ({"lang": [["en"]]}, r"\['en'\] is a list; wanted a text or a number"),
        ("lang>=2020", "no value of 'lang' is a number; wanted a field of numbers"),
    ],
)
def test_conditions_that_cannot_be_met_are_named(index: Index, where: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        index.search(np.ones((1, 8)), 4, where=where)


def test_no_conditions_are_no_filter(index: Index) -> None:
    assert all(index.matching(where) is None for where in (None, [], {}, ""))


def test_a_truth_value_is_no_number(index: Index) -> None:
    """Python holds True and 1 for equal, so that a remembered filter must not be found by its value."""
    for where, wanted in (({"ok": True}, ["a"]), ({"ok": 1}, []), ({"ok": True}, ["a"])):
        (hits,) = index.search(np.ones((1, 8)), 4, where=where)
        assert [hit.id for hit in hits] == wanted
    for number in range(40):  # more than are remembered
        assert len(index.search(np.ones((1, 8)), 4, where=f"year>{number}")[0]) == 3


def test_fields_are_kept_as_texts(index: Index, tmp_path: Path) -> None:
    hits = {hit.id: hit.fields for hit in index.search(np.ones((1, 8)), 4)[0]}
    assert hits["a"] == {"lang": "en", "year": "2019", "day": "2019-05-01", "ok": "true", "code": "007"}
    assert hits["d"]["lang"] is None
