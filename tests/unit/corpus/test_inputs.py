"""Inputs and rows of a corpus: every kind of source, detected fields, and what is set aside or refused."""

from __future__ import annotations

import functools
import gzip
import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corpus_folder import encode_folder, rejected, require_whole, stored, write_jsonl
from poolwise.corpus.inputs import find_tables
from poolwise.corpus.rows import Columns, Rejected, Row, RowReader
from poolwise.errors import ConfigError, DataError
from support import ROOT

TEXTS = {"a": "one text", "b": "another text", "c": "a third"}


def read(path: Path | str, **columns: Any) -> list[Row | Rejected]:
    tables = find_tables([str(path)], "train", Path())
    return [found for table in tables for _, found in RowReader(Columns(**columns), table).rows()]


def texts(path: Path | str, **columns: Any) -> dict[str, str]:
    return {row.id: row.text if isinstance(row, Row) else f"rejected: {row.reason}" for row in read(path, **columns)}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    if path.name.endswith(".gz"):
        path.write_bytes(gzip.compress(lines.encode()))
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix in (".csv", ".tsv"):
        comma = "," if path.suffix == ".csv" else "\t"
        path.write_text("\n".join([comma.join(rows[0]), *(comma.join(row.values()) for row in rows)]) + "\n")
    else:
        path.write_text(lines)
    return path


@pytest.mark.parametrize("name", ["c.jsonl", "c.jsonl.gz", "c.parquet", "c.csv", "c.tsv"])
def test_each_kind_of_file_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, [{"_id": key, "text": text} for key, text in TEXTS.items()])
    assert texts(path) == TEXTS


@pytest.mark.parametrize("name", ["c.txt", "c.txt.gz"])
def test_plain_text_is_a_text_per_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    raw = b"one\n\n two \n"
    path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    assert texts(path) == {f"{path}:1": "one", f"{path}:3": " two "}


def test_a_beir_folder_reads_its_corpus_only_and_joins_titles(tmp_path: Path) -> None:
    rows = [{"_id": "1", "title": "Cats", "text": "They purr."}, {"_id": "2", "title": "", "text": "Dogs bark."}]
    write(tmp_path / "corpus.jsonl", rows)
    write(tmp_path / "queries.jsonl", [{"_id": "q", "text": "who purrs"}])
    assert texts(tmp_path) == {"1": "Cats They purr.", "2": "Dogs bark."}


def test_a_folder_and_a_pattern_give_all_files_in_order_of_names(tmp_path: Path) -> None:
    write(tmp_path / "x" / "b.jsonl", [{"id": 2, "body": "two"}])
    write(tmp_path / "y" / "a.csv", [{"docid": "1", "contents": "one"}])
    write(tmp_path / "x" / "a.parquet", [{"pid": "0", "passage": "zero"}])
    assert texts(tmp_path / "x") == {"0": "zero", "2": "two"}
    assert texts(tmp_path / "*" / "a.*") == {"0": "zero", "1": "one"}
    assert texts(f"{tmp_path}/**/*.csv") == {"1": "one"}


def test_a_data_set_folder_and_hub_names_are_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from poolwise.corpus import inputs

    asked: list[Any] = []

    def rows(*arguments: Any, **options: Any) -> Iterator[tuple[int, object]]:
        asked.append((arguments, options))
        return iter([(1, {"id": "a", "text": "one"}), (2, {"id": "b", "text": "two"})])

    monkeypatch.setattr(inputs, "iter_hub_rows", rows)
    monkeypatch.chdir(tmp_path)
    assert texts("org/name:en") == {"a": "one", "b": "two"}
    assert asked == [(("org/name", "en", "train"), {"streaming": True})]


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        (b'{"_id": "a", "text": "one"}\n{"_id": "b", "text": "two"}\n', {"a": "one", "b": "two"}),
        (b"one\n\xff\ntwo\n", {"stdin:1": "one", "stdin:3": "two"}),
    ],
)
def test_standard_input_is_json_lines_or_plain_text(sent: bytes, found: dict[str, str]) -> None:
    code = """if True:
        from poolwise.corpus.inputs import find_tables
        from poolwise.corpus.rows import Columns, Row, RowReader
        rows = RowReader(Columns(), find_tables(["-"], "train", None)[0]).rows()
        print({row.id: row.text for _, row in rows if isinstance(row, Row)})
    """
    done = subprocess.run([sys.executable, "-c", code], input=sent, capture_output=True, check=True, cwd=ROOT)
    assert eval(done.stdout) == found


def test_named_fields_are_read_and_kept(tmp_path: Path) -> None:
    rows = [{"key": 7, "head": "H", "words": "w", "n": 3, "tags": ["x"], "url": None}]
    path = write(tmp_path / "c.jsonl", rows)
    (row,) = read(path, id="key", text="words", title="head", keep=("n", "tags", "url"))
    assert isinstance(row, Row)
    assert (row.id, row.text, row.kept) == ("7", "H w", ("3", '["x"]', None))


def test_a_table_without_ids_gets_those_of_its_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "c.csv", [{"text": "one"}, {"text": "two"}])
    assert texts(path) == {f"{path}:2": "one", f"{path}:3": "two"}


BAD = [
    ('{"_id": "x"}', "no text in 'text'"),
    ('{"_id": "x", "text": 5}', "'text' is a number, wanted a text"),
    ('{"_id": "x", "text": "  "}', "empty text"),
    ('{"_id": "x", "text": null}', "empty text"),
    ('{"text": "t"}', "no id in '_id'"),
    ('{"_id": true, "text": "t"}', "the id in '_id' is a truth value, wanted a string or a whole number"),
    ('{"_id": "x", "text": "t", "title": ["l"]}', "the title is a list, wanted a string"),
    ('{"_id": "x", "text": "\\ud800"}', "not UTF-8 in 'text': surrogates not allowed"),
    ('{"_id": "x", "text": "t"', "not JSON: Expecting ',' delimiter"),
    ("[1]", "the row is a list, wanted an object with a text"),
    ('{"_id": "a", "text": "again"}', "the id repeats that of an earlier row"),
]


@pytest.mark.parametrize(("line", "reason"), BAD)
def test_a_bad_row_is_set_aside_with_its_reason(tmp_path: Path, line: str, reason: str) -> None:
    source = write_jsonl(tmp_path / "c.jsonl", TEXTS)
    source.write_text(source.read_text() + line + "\n" + '{"_id": "last", "text": "t"}\n')
    encode_folder(tmp_path / "out", [source])
    require_whole(tmp_path / "out", {**TEXTS, "last": "t"})
    (found,) = rejected(tmp_path / "out")
    assert (found["source"], found["line"]) == (str(source), 4)
    assert found["reason"].startswith(reason)


def test_a_text_that_would_take_gigabytes_is_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poolwise.corpus.rows.MOST_OF_TEXT", 50)
    source = write_jsonl(tmp_path / "c.jsonl", {**TEXTS, "long": "b" * 51, "longest": "b" * 50})
    encode_folder(tmp_path / "out", [source])
    (found,) = rejected(tmp_path / "out")
    assert found["id"] == "long" and found["reason"] == (
        "a text of 51 characters, wanted at most 50: split it into documents"
    )


def test_a_broken_first_line_costs_one_row(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "c.jsonl", TEXTS)
    source.write_text("{broken\n[1]\n" + source.read_text())
    encode_folder(tmp_path / "out", [source])
    require_whole(tmp_path / "out", TEXTS)
    assert [row["line"] for row in rejected(tmp_path / "out")] == [1, 2]


def test_strict_stops_at_the_first_bad_row(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "c.jsonl", {**TEXTS, "d": " "})
    with pytest.raises(DataError, match=r"c.jsonl:4: empty text; wanted no bad row"):
        encode_folder(tmp_path / "out", [source], is_strict=True)


@pytest.mark.parametrize("name", ["c.jsonl", "c.txt", "c.csv"])
def test_bytes_that_are_not_utf8_cost_one_row(tmp_path: Path, name: str) -> None:
    raw = {
        "c.jsonl": b'{"_id": "a", "text": "one"}\n{"_id": "b", "text": "\xff"}\n{"_id": "c", "text": "two"}\n',
        "c.txt": b"one\n\xff\ntwo\n",
        "c.csv": b"_id,text\na,one\nb,\xff\nc,two\n",
    }[name]
    (tmp_path / name).write_bytes(raw)
    encode_folder(tmp_path / "out", [tmp_path / name])
    assert len(stored(tmp_path / "out")) == 2
    (found,) = rejected(tmp_path / "out")
    assert "not UTF-8" in found["reason"]


def test_a_truncated_parquet_file_is_refused_before_anything_is_encoded(tmp_path: Path) -> None:
    path = write(tmp_path / "c.parquet", [{"_id": key, "text": text} for key, text in TEXTS.items()])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"cannot read .*c.parquet.*is the file whole"):
        read(path)


def test_a_truncated_gzip_file_stops_the_run_and_drops_nothing(tmp_path: Path) -> None:
    source = write(tmp_path / "c.jsonl.gz", [{"_id": str(n), "text": f"text {n * 7919}"} for n in range(400)])
    out = tmp_path / "out"
    encode_folder(out, [source], shard_rows=100)
    source.write_bytes(source.read_bytes()[:-200])
    with pytest.raises(DataError, match="cannot be read further"):
        encode_folder(out, [source], shard_rows=100)
    assert len(stored(out)) == 400


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent.jsonl", "no such file, folder or data set: absent.jsonl"),
        ("*.none", "no file matches \\*.none"),
        ("c.json", "unknown suffix of c.json; wanted .jsonl"),
        ("empty", "folder empty has no file of texts: found nothing"),
        ("http://127.0.0.1:9/c.jsonl", "cannot reach http://127.0.0.1:9/c.jsonl: .*refused"),
        ("memory://absent.jsonl", "cannot reach memory://absent.jsonl"),
        ("memory://absent/*.jsonl", "no file matches memory://absent"),
        ("nowhere://c.jsonl", "cannot reach nowhere://c.jsonl: Protocol not known"),
        ("s3://bucket/c.jsonl", "cannot open s3://bucket/c.jsonl: .*s3fs"),
    ],
)
def test_an_input_that_is_not_there_is_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    (tmp_path / "c.json").write_text("{}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=message):
        read(name)


def test_all_missing_inputs_are_named_at_once(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "c.jsonl", TEXTS)
    with pytest.raises(DataError, match=r"(?s)inputs: 3 problem.*no such.*x.jsonl.*y.jsonl.*c.jsonl: given twice"):
        find_tables(["x.jsonl", "y.jsonl", str(path), str(path)], "train", tmp_path)


@pytest.mark.parametrize("name", [None, "txt"])
def test_a_table_without_a_text_field_is_refused_with_its_fields(tmp_path: Path, name: str | None) -> None:
    path = write(tmp_path / "c.jsonl", [{"_id": "a", "txet": "one"}] * 2000)
    with pytest.raises(DataError, match=r"c.jsonl has the fields _id, txet; .*--text-column"):
        read(path, text=name)


@pytest.mark.parametrize("keep", [("text",), ("id",), ("a", "a")])
def test_a_kept_field_must_not_hide_a_column(keep: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="--keep"):
        Columns(keep=keep)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    folder = tmp_path / "served"
    folder.mkdir()
    found = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder)))
    threading.Thread(target=found.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{found.server_port}", folder
    found.shutdown()
    found.server_close()


def test_files_of_the_web_and_of_object_stores_are_fetched_one_at_a_time(
    tmp_path: Path, server: tuple[str, Path]
) -> None:
    import fsspec

    address, folder = server
    write_jsonl(folder / "c.jsonl", {"w": "from the web"})
    store = fsspec.filesystem("memory")
    for number in range(2):
        store.pipe(f"/bucket/part-{number}.jsonl", json.dumps({"_id": number, "text": f"part {number}"}).encode())
    out = tmp_path / "out"
    encode_folder(out, [f"{address}/c.jsonl", "memory://bucket/part-*.jsonl"])
    require_whole(out, {"w": "from the web", "0": "part 0", "1": "part 1"})


def test_an_error_in_a_fetched_file_names_its_url(tmp_path: Path, server: tuple[str, Path]) -> None:
    address, folder = server
    (folder / "c.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(DataError, match=rf"cannot read {address}/c.parquet"):
        encode_folder(tmp_path / "out", [f"{address}/c.parquet"])


def test_a_file_that_is_gone_when_it_is_fetched_is_named(tmp_path: Path, server: tuple[str, Path]) -> None:
    import fsspec

    address, folder = server
    store = fsspec.filesystem("memory")
    write_jsonl(folder / "c.jsonl", TEXTS)
    store.pipe("/gone/c.jsonl", b"{}")
    urls = [f"{address}/c.jsonl", "memory://gone/c.jsonl"]
    for url, table in zip(urls, find_tables(urls, "train", tmp_path), strict=True):
        (folder / "c.jsonl").unlink(missing_ok=True)
        store.rm("/gone", recursive=True) if store.exists("/gone") else None
        with pytest.raises(DataError, match=f"cannot reach {url}"):
            next(table.rows())


def test_a_transfer_that_breaks_off_is_refused(tmp_path: Path, server: tuple[str, Path]) -> None:
    from poolwise.corpus.remote import fetched

    address, folder = server
    write_jsonl(folder / "c.jsonl", TEXTS)
    with pytest.raises(DataError, match="of 1,000,000 bytes arrived"), fetched(f"{address}/c.jsonl", tmp_path, 10**6):
        pass
