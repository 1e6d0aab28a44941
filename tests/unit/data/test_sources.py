"""Files, folders and hub names become triples; everything wrong with them comes in one error."""

import gzip
import json

import pyarrow
import pyarrow.parquet
import pytest

from poolwise.config import SourceConfig
from poolwise.data import Triple, describe_sources, load_source, load_sources, read_sources, sample_triples
from poolwise.errors import DataError

ROWS = [{"query": f"q{i}", "positive": f"p{i}", "negative": f"n{i}"} for i in range(5)]


def write(path, rows):
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return str(path)


def configs(*names):
    return [SourceConfig(source=name) for name in names]


def test_jsonl_gz_and_parquet_give_the_same_triples_and_fingerprint(tmp_path):
    plain, packed = write(tmp_path / "a.jsonl", ROWS), write(tmp_path / "b.jsonl.gz", ROWS)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "c.parquet")
    sources = [load_source(name) for name in (plain, packed, str(tmp_path / "c.parquet"))]
    assert sources[0].triples[1] == Triple("q1", "p1", ("n1",), plain, 2)
    assert len({source.fingerprint for source in sources}) == 1
    assert {source.dialect for source in sources} == {"query/positive/negative"}
    assert [[triple.texts for triple in source.triples] for source in sources[1:]] == [
        [triple.texts for triple in sources[0].triples]
    ] * 2


def test_the_fingerprint_changes_with_any_text_and_with_where_a_text_ends(tmp_path):
    prints = set()
    for rows in (ROWS, ROWS[::-1], [{**ROWS[0], "query": "q0p"}], [{**ROWS[0], "positive": "pp0"}], ROWS[:1]):
        prints.add(load_source(write(tmp_path / "a.jsonl", rows)).fingerprint)
    assert len(prints) == 5


def test_a_folder_is_all_its_files_in_order_of_name(tmp_path):
    write(tmp_path / "b.jsonl", [{"anchor": "z", "positive": "y"}])
    write(tmp_path / "a.jsonl.gz", ROWS[:1])
    (tmp_path / "notes.txt").write_text("not data")
    source = load_source(str(tmp_path))
    assert [triple.query for triple in source.triples] == ["q0", "z"]
    assert source.dialect == "query/positive/negative and anchor/positive/negative"


def test_all_bad_lines_are_counted_and_ten_are_shown_with_file_and_line(tmp_path):
    first = write(tmp_path / "a.jsonl", [ROWS[0], "{oops", "", {"query": "q"}, {"query": "", "positive": "p"}, "7"])
    second = write(tmp_path / "b.jsonl", [ROWS[0], *["[]"] * 9])
    with pytest.raises(DataError) as caught:
        read_sources(configs(first, second))
    message = str(caught.value)
    assert "13 problem(s)" in message
    assert "... and 3 more" in message
    assert f"{first}:2: not JSON" in message
    assert f"{first}:4: field 'positive' is missing" in message
    assert f"{first}:5: empty text in 'query'" in message
    assert f"{first}:6: wanted a JSON object, got int" in message
    assert message.count(f"{second}:") == 6


def test_all_missing_files_come_in_one_error(tmp_path):
    good = write(tmp_path / "a.jsonl", ROWS)
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("x")
    names = [str(tmp_path / "no.jsonl"), str(tmp_path / "empty"), str(tmp_path / "notes.txt"), good, good]
    with pytest.raises(DataError, match=r"4 problem\(s\)") as caught:
        read_sources(configs(*names))
    for part in ("no such file", "has no training file: found nothing", "unknown suffix of", "listed twice"):
        assert part in str(caught.value)


def test_one_file_under_two_names_is_listed_twice(tmp_path, monkeypatch):
    write(tmp_path / "a.jsonl", ROWS)
    monkeypatch.chdir(tmp_path)
    for names in (("a.jsonl", "./a.jsonl"), ("a.jsonl", str(tmp_path))):
        with pytest.raises(DataError, match=r"a\.jsonl: listed twice"):
            read_sources(configs(*names))


def test_a_file_that_breaks_off_is_a_data_error_and_hides_no_bad_line(tmp_path):
    bad = write(tmp_path / "a.jsonl", ["{"])
    cut = tmp_path / "b.jsonl.gz"
    cut.write_bytes(gzip.compress(json.dumps(ROWS).encode())[:-9])
    (tmp_path / "c.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match=r"3 problem\(s\)") as caught:
        read_sources(configs(bad, str(cut), str(tmp_path / "c.parquet")))
    assert "b.jsonl.gz:1: cannot be read further" in str(caught.value) and "c.parquet" in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b'{"query": "\xff", "positive": "p"}\n', "not UTF-8: invalid start byte"),
        (b"\x00\n", "not JSON"),
        (b"[" * 100_000 + b"\n", "not JSON"),
    ],
)
def test_what_no_json_reader_takes_is_a_bad_line(tmp_path, raw, reason):
    (tmp_path / "a.jsonl").write_bytes(raw)
    with pytest.raises(DataError, match=rf"a\.jsonl:1: {reason}"):
        load_source(str(tmp_path / "a.jsonl"))


def test_an_empty_file_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"a\.jsonl: no rows"):
        load_source(write(tmp_path / "a.jsonl", [""]))


def test_a_hub_name_is_loaded_with_its_config(monkeypatch):
    import datasets

    calls = []

    def load_dataset(path, config, *, split, trust_remote_code):
        assert trust_remote_code is False
        calls.append((path, config, split))
        return datasets.Dataset.from_list([{"positive": "p", "anchor": "q", "negative": "n"}])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    source = load_source("owner/name:triplet")
    assert calls == [("owner/name", "triplet", "train")]
    assert source.triples == (Triple("q", "p", ("n",), "owner/name:triplet", 1),)


def test_a_hub_name_without_a_network_says_how_to_use_a_file(monkeypatch):
    import datasets

    def load_dataset(*args, **kwargs):
        raise ConnectionError("Couldn't reach the Hub")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(DataError, match="without a network, give a file or folder"):
        load_source("owner/name")


def test_the_subset_is_in_proportion_seeded_and_independent_of_where_the_file_lies(tmp_path):
    rows = [{"query": f"q{i}", "positive": f"p{i}"} for i in range(90)]
    (tmp_path / "moved").mkdir()
    big, small = write(tmp_path / "big.jsonl", rows), write(tmp_path / "small.jsonl", ROWS * 6)
    moved = write(tmp_path / "moved" / "big.jsonl", rows)
    data = load_sources(configs(big, small), 41, seed=1)
    assert data.rows == {big: 31, small: 10}
    assert data.triples == sample_triples(read_sources(configs(big, small)), 41, 1)
    assert data.triples != sample_triples(read_sources(configs(big, small)), 41, 2)
    there = sample_triples(read_sources(configs(moved, small)), 41, 1)
    assert [triple.texts for triple in there] == [triple.texts for triple in data.triples]
    queries = [triple.row for triple in data.triples if triple.source == big]
    assert queries == sorted(queries) and len(set(queries)) == 31


def test_a_cap_above_the_rows_takes_all(tmp_path):
    name = write(tmp_path / "a.jsonl", ROWS)
    assert len(load_sources(configs(name), 99, seed=0).triples) == 5
    assert len(load_sources(configs(name), None, seed=0).triples) == 5


PAIRS = [{"query": "q, 0", "positive": 'a "p"'}, {"query": "q1", "positive": "p\n1"}]


def write_csv(path, header, rows):
    import csv
    import io

    text = io.StringIO()
    table = csv.writer(text, delimiter="\t" if ".tsv" in path.name else ",")
    table.writerows([header, *rows])
    raw = text.getvalue().encode("utf-8-sig" if path.stem.startswith("bom") else "utf-8")
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return str(path)


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.csv.gz", "a.tsv.gz", "bom.csv"])
def test_a_table_gives_the_triples_of_the_same_json_lines(tmp_path, name):
    rows = [[row["query"], row["positive"], "", ""] for row in PAIRS]
    rows[1][2:] = ["n2", "n1"]
    table = load_source(write_csv(tmp_path / name, ["query", "positive", "negative_2", "negative_1"], rows))
    lines = [PAIRS[0], PAIRS[1] | {"negative": ["n1", "n2"]}]
    wanted = load_source(write(tmp_path / "b.jsonl", lines))
    assert [triple.texts for triple in table.triples] == [triple.texts for triple in wanted.triples]
    assert table.fingerprint == wanted.fingerprint
    assert table.dialect == "query/positive/negative"


def named(name, **columns):
    return SourceConfig.model_validate({"source": name, "columns": columns})


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_columns_say_what_the_fields_are_called(tmp_path, kind):
    header, row = ["question", "answer", "wrong", "worse", "negative"], ["q", "p", "n1", "n2", "x"]
    if kind == "csv":
        name = write_csv(tmp_path / "my.csv", header, [row])
    else:
        name = write(tmp_path / "my.jsonl", [dict(zip(header, row, strict=True))])
    names = {"query": "question", "positive": "answer"}
    for columns, negatives in (
        (names, ("x",)),
        (names | {"negative": "wrong"}, ("n1",)),
        (names | {"negative": ["worse", "wrong"]}, ("n2", "n1")),
        (names | {"negative": ["wrong", "worse"]}, ("n1", "n2")),
        (names | {"negative": []}, ()),
    ):
        (source,) = read_sources([named(name, **columns)])
        assert [triple.texts for triple in source.triples] == [("q", "p", *negatives)]
    assert source.dialect == "question as query, answer as positive"


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_wrong_column_is_one_error_for_the_file(tmp_path, kind):
    header = ["questoin", "answer"]
    if kind == "csv":
        name = write_csv(tmp_path / "my.csv", header, [["q", "p"]] * 50)
    else:
        name = write(tmp_path / "my.jsonl", [dict.fromkeys(header, "x")] * 50)
    with pytest.raises(DataError) as caught:
        read_sources([named(name, query="question", positive="answer", negative=["wrong"])])
    word = {"csv": "columns", "jsonl": "fields"}[kind]
    assert ": 1 problem(s)" in str(caught.value)
    wrong = "`columns` names 'question' as query (did you mean 'questoin'?) and `columns` names 'wrong' as negative"
    assert f"{name} has the {word} questoin, answer; {wrong}; correct `columns` in the recipe" in str(caught.value)


def test_a_problem_of_every_row_is_told_once_with_their_number(tmp_path):
    unknown = write_csv(tmp_path / "a.csv", ["left", "right"], [["q", "p"]] * 20)
    empty = write_csv(tmp_path / "b.csv", ["query", "positive"], [[f"q{i}", " "] for i in range(30)])
    mixed = write(tmp_path / "c.jsonl", [{"query": "q", "positive": "p"}, {"query": "q"}, {"query": "q"}])
    single = write(tmp_path / "d.jsonl", [{"query": "q", "positive": " "}])
    with pytest.raises(DataError, match=r"5 problem\(s\)") as caught:
        read_sources(configs(unknown, empty, mixed, single))
    text = str(caught.value)
    assert f"{unknown}: in all 20 rows: unknown training format with the fields left, right" in text
    assert "or name the fields in the recipe: columns: {query: NAME, positive: NAME}" in text
    assert f"{empty}: in all 30 rows: field 'positive' is empty" in text
    assert f"{mixed}:2: field 'positive' is missing" in text and f"{mixed}:3: field" in text
    assert f"{single}:1: empty text in 'positive'" in text


def test_broken_tables_are_told_beside_bad_lines(tmp_path):
    (tmp_path / "a.csv").write_text('query,positive\nq,"p\nq,p\n')
    (tmp_path / "b.csv").write_text("query,positive\nq\nq,p\n")
    (tmp_path / "c.csv").write_text("query,positive\n")
    with pytest.raises(DataError, match=r"3 problem\(s\)") as caught:
        read_sources(configs(*(str(tmp_path / name) for name in ("a.csv", "b.csv", "c.csv"))))
    for part in ("a.csv:2: unexpected end of data", "b.csv:2: 1 cells, the header has 2", "c.csv: no rows"):
        assert part in str(caught.value)


def test_a_source_is_described_in_a_line(tmp_path):
    plain = write(tmp_path / "a.jsonl", [*ROWS, {"query": "q", "positive": "p"}])
    mapped = write_csv(tmp_path / "b.csv", ["question", "answer"], [[f"q{i}", f"p{i}"] for i in range(6)])
    sources = [*configs(plain), named(mapped, query="question", positive="answer")]
    assert describe_sources(load_sources(sources, None, seed=0)) == [
        f"{plain}: read as query/positive/negative; 6 of 6 rows, 5 with negatives",
        f"{mapped}: read as question as query, answer as positive; 6 of 6 rows, 0 with negatives",
    ]
    assert "; 3 of 6 rows, " in describe_sources(load_sources(sources, 6, seed=0))[0]


def test_a_missing_file_with_another_end_is_no_hub_name():
    with pytest.raises(DataError, match=r"no such file: data/train\.json"):
        load_source("data/train.json")
