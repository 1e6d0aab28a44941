"""Every backend returns what exact search returns, refuses the same mistakes, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import poolwise.search.index
from corpus_folder import DIM, encode_folder
from poolwise.corpus.rows import Columns
from poolwise.errors import ConfigError, DataError
from poolwise.search import Index, build_index, open_index
from poolwise.search.backends import NOTHING, Source, build_settings, find_backend
from poolwise.search.vectors import Vectors
from postgres_server import postgres_server
from qdrant_stand_in import API_KEY, qdrant_stand_in

NUM_ROWS, K = 300, 10
QUERIES = np.random.default_rng(0).standard_normal((5, DIM)).astype(np.float32)
ROUNDING = 1e-6
"""Products of eight numbers below 1 in float32, summed in another order: 1.2e-7 at most here."""
WHERE: list[dict[str, Any]] = [
    {"lang": "de"},
    {"lang": "it's"},
    {"lang": '50% \\ "x"'},
    {"lang": ["de", "it's"]},
    {"lang": []},
    {"lang": {"!=": "de"}},
    {"year": 2003},
    {"year": {">=": 2010}},
    {"year": {">=": 2010, "<": 2015}, "lang": ["de", "it's"]},
    {"year": {"!=": 2003}},
    {"year": [2003, "2004", None]},
    {"year": None},
    {"year": {"<": float("inf")}},
    {"day": {">": "2020-01-20"}},
    {"is even": True},
    {"id": ["d5", "d6"]},
    {"text": {">": "text 5"}},
]
SERVER = "POOLWISE_QDRANT_URL"
"""The variable that names a Qdrant server for these tests; without it a stand-in takes its place.

No package on PyPI, npm or Debian has the program of the server (looked for in November 2026).
"""
BACKENDS = {
    "exact": ("exact", {}),
    "faiss-hnsw": ("faiss-hnsw", {"ef_search": NUM_ROWS}),
    "faiss-ivfpq": ("faiss-ivfpq", {"nprobe": 100, "oversample": 40}),
    "lancedb": ("lancedb", {}),
    "lancedb-hnsw": ("lancedb", {"kind": "hnsw"}),
    "lancedb-elsewhere": ("lancedb", {"url": "$LANCEDB"}),
    "qdrant": ("qdrant", {}),
    "qdrant-server": ("qdrant", {"url": f"${SERVER}"}),
    "pgvector": ("pgvector", {"url": "$DATABASE_URL"}),
    "pgvector-hnsw": ("pgvector", {"url": "$DATABASE_URL", "kind": "hnsw"}),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield a folder with a corpus; while it is used, the environment names a PostgreSQL and a LanceDB."""
    folder = tmp_path_factory.mktemp("backends")
    write_corpus(folder, NUM_ROWS)
    with postgres_server() as url, qdrant_stand_in() as stand_in, pytest.MonkeyPatch.context() as patch:
        if SERVER not in os.environ:
            patch.setenv(SERVER, stand_in)
            patch.setenv("QDRANT_API_KEY", API_KEY)
        patch.setenv("DATABASE_URL", url)
        patch.setenv("LANCEDB", str(folder / "lance"))
        yield folder


def write_corpus(folder: Path, num_rows: int) -> None:
    """Encode a corpus; rows 0 to 19 are pairs with equal texts, and every seventh has no year."""
    rows = [
        {
            "_id": f"d{i}",
            "text": f"text {i // 2 if i < 20 else i}",
            "lang": ["de", "it's", '50% \\ "x"'][i % 3],
            "year": 2000 + i % 25 if i % 7 else None,
            "day": f"2020-01-{i % 28 + 1:02d}",
            "is even": i % 2 == 0,
        }
        for i in range(num_rows)
    ]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = Columns(keep=("lang", "year", "day", "is even"))
    encode_folder(folder / "corpus", [folder / "corpus.jsonl"], columns=columns, keeps_text=True, shard_rows=64)


@pytest.fixture(scope="module")
def exact(root: Path) -> Iterator[Index]:
    with build_index(root / "corpus", root / "reference", backend="exact") as index:
        yield index


@pytest.fixture(scope="module", params=BACKENDS)
def index(request: pytest.FixtureRequest, root: Path) -> Iterator[Index]:
    with built(root, request.param, root / request.param) as index:
        yield index


@contextmanager
def built(folder: Path, name: str, out: Path, *, replace: bool = False) -> Iterator[Index]:
    """Yield the corpus of a folder, indexed by one of BACKENDS."""
    backend, settings = BACKENDS[name]
    with build_index(folder / "corpus", out, backend=backend, settings=settings, replace=replace) as index:
        yield index


def require_equal(found: Any, wanted: Any, where: object = None) -> None:
    """Check that results have the scores of exact search, and its rows but for rows of equal scores."""
    for rows, scores, best, best_scores in zip(found.rows, found.scores, wanted.rows, wanted.scores, strict=True):
        order = np.argsort(-scores, kind="stable")
        assert np.abs(scores[order] - best_scores).max(initial=0) < ROUNDING, where
        last = best_scores.min(initial=np.inf)
        assert set(best[best_scores > last + ROUNDING]) <= set(rows), where
        assert NOTHING not in rows and len(set(rows)) == len(rows), where


def test_the_backend_itself_finds_what_exact_search_finds(index: Index, exact: Index) -> None:
    queries = index.encode(QUERIES)
    require_equal(found_by(index, queries, K), exact.find(queries, K))


@pytest.mark.parametrize("where", WHERE, ids=str)
def test_the_backend_itself_filters(index: Index, exact: Index, where: dict[str, Any]) -> None:
    queries, matching = index.encode(QUERIES), index.matching(where)
    assert matching is not None
    if k := min(K, len(matching.rows)):
        require_equal(found_by(index, queries, k, matching), exact.find(queries, k, matching), where)


def found_by(index: Index, queries: Any, k: int, matching: Any = None) -> Any:
    """Return what a backend finds by itself; of faiss, what the index makes of it."""
    if index.record.backend.startswith("faiss"):
        return index.find(queries, k, matching)
    return index._searcher.search(queries, k, matching)


def test_hits_have_ids_texts_and_fields(index: Index, exact: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poolwise.search.index, "FEW_ROWS", 0)
    assert len(index) == NUM_ROWS
    for where in (None, {"lang": "de"}):
        found, wanted = index.search(QUERIES, K, where=where), exact.search(QUERIES, K, where=where)
        for hits, best in zip(found, wanted, strict=True):
            assert [hit.score for hit in hits] == pytest.approx([hit.score for hit in best], abs=ROUNDING)
            known = {hit.id: (hit.text, hit.fields) for hit in best}
            assert all((hit.text, hit.fields) == known[hit.id] for hit in hits if hit.id in known)
            assert where is None or {hit.fields["lang"] for hit in hits} == {"de"}


def test_rows_with_equal_vectors_are_all_found(index: Index) -> None:
    (vector,) = index.vectors.take(np.array([4]))
    assert {hit.id for hit in index.search(vector, k=2)[0]} == {"d4", "d5"}


def test_an_index_is_opened_again(root: Path, request: pytest.FixtureRequest, index: Index) -> None:
    name = request.node.callspec.params["index"]
    if name == "qdrant":  # one process, and one client in it, may use the folder
        with pytest.raises(ConfigError, match=r"in use.*one process at a time"):
            open_index(root / name)
        return
    with open_index(root / name) as again:
        assert again.search(QUERIES, K) == index.search(QUERIES, K)


def test_queries_of_another_width_are_refused(index: Index) -> None:
    with pytest.raises(DataError, match="wanted vectors of 8 numbers"):
        index.search(np.ones((1, DIM + 1)))


IN_DATABASES = [name for name in BACKENDS if not name.startswith(("exact", "faiss")) and not name.endswith("hnsw")]


@pytest.fixture(params=IN_DATABASES)
def name(request: pytest.FixtureRequest) -> str:
    """Return one of BACKENDS that keeps its rows in a database."""
    return str(request.param)


def tables(folder: Path, name: str) -> list[str]:
    """Return the tables of poolwise in the database of an index."""
    backend, settings = BACKENDS[name]
    if backend == "pgvector":
        import psycopg

        with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
            found = connection.execute("SELECT relname FROM pg_class WHERE relkind = 'r' AND relname ~ '^poolwise'")
            return [row[0] for row in found]
    if backend == "lancedb":
        import lancedb

        database = lancedb.connect(os.environ["LANCEDB"] if settings else folder / "backend")
        return list(database.list_tables().tables)
    from qdrant_client import QdrantClient

    if settings:
        client = QdrantClient(
            url=os.environ[SERVER], api_key=os.environ.get("QDRANT_API_KEY"), check_compatibility=False
        )
    else:
        client = QdrantClient(path=str(folder / "backend"))
    found = [collection.name for collection in client.get_collections().collections]
    client.close()
    return [collection for collection in found if collection.startswith("poolwise")]


def test_a_new_build_takes_the_place_of_the_old(small: Path, name: str, tmp_path: Path) -> None:
    write_corpus(tmp_path, 20)
    out = tmp_path / "index"
    with built(small, name, out) as index:
        old = f"poolwise_{index.record.name}"
        (vector,) = index.vectors.take(np.array([25]))
        assert index.search(vector, 1)[0][0].id == "d25"
    assert old in tables(out, name)
    with built(tmp_path, name, out, replace=True) as index:
        assert len(index) == 20
        assert index._searcher.search(index.encode(vector), 20, None).rows.max() < 20
        new = f"poolwise_{index.record.name}"
    found = tables(out, name)
    assert new in found and old not in found


@pytest.fixture(scope="module")
def small(root: Path) -> Path:
    """Return a folder with a corpus of 30 rows."""
    (root / "small").mkdir()
    write_corpus(root / "small", 30)
    return root / "small"


class StoppedError(Exception):
    pass


def test_an_aborted_build_leaves_nothing_behind(
    small: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "index"
    with built(small, name, out) as index:
        wanted = index.search(QUERIES, K)
    before = tables(out, name)
    whole = Vectors.blocks

    def stopping(self: Vectors, size: int = 0) -> Iterator[Any]:
        yield from list(whole(self, 10))[:2]
        raise StoppedError("after 20 rows")

    with monkeypatch.context() as patch:
        patch.setattr(Vectors, "blocks", stopping)
        with pytest.raises(StoppedError), built(small, name, out):
            pass
        with pytest.raises(StoppedError), built(small, name, tmp_path / "new"):
            pass
    assert tables(out, name) == before
    assert not (tmp_path / "new").exists() and [path.name for path in tmp_path.iterdir()] == ["index"]
    with open_index(out) as index:
        assert index.search(QUERIES, K) == wanted


def test_a_table_of_another_model_is_refused(small: Path, name: str, tmp_path: Path) -> None:
    with built(small, name, tmp_path / "index") as index:
        source = Source(index.record.name, "another", index.vectors, index.rows, index.record.similarity)
        backend, settings = index._backend, index.settings
    with pytest.raises(DataError, match=r"is not of this index: fingerprint '\w{16}' there, 'another' here"):
        backend.open(source, tmp_path / "index" / "backend", settings)
    with pytest.raises(DataError, match=r"wanted the table|is gone"):
        backend.open(replace(source, name="0" * 16), tmp_path / "index" / "backend", settings)


def test_a_search_in_several_threads_gives_the_same(index: Index) -> None:
    wanted = index.search(QUERIES, K)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: index.search(QUERIES, K), range(8))) == [wanted] * 8


@pytest.mark.parametrize(
    ("backend", "module"), [("lancedb", "lancedb"), ("qdrant", "qdrant_client"), ("pgvector", "psycopg")]
)
def test_a_missing_library_is_one_error_that_names_the_extra(
    root: Path, tmp_path: Path, backend: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=rf"needs the package {module}.*pip install 'poolwise\[{backend}\]'"):
        build_index(root / "corpus", tmp_path / "index", backend=backend)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("backend", "url"),
    [("qdrant", "http://127.0.0.1:9"), ("pgvector", "postgresql://me@127.0.0.1:9/db"), ("lancedb", "/dev/null/db")],
)
def test_a_server_that_is_not_there_is_one_error(root: Path, tmp_path: Path, backend: str, url: str) -> None:
    with pytest.raises(ConfigError, match=r"refused|Not a directory"):
        build_index(root / "corpus", tmp_path / "index", backend=backend, settings={"url": url})
    assert not list(tmp_path.iterdir())


def test_a_wrong_key_of_a_server_is_one_error(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not os.environ[SERVER].startswith("http://127.0.0.1"):
        pytest.skip("the stand-in asks for a key, a server need not")
    monkeypatch.setenv("QDRANT_API_KEY", "another")
    with pytest.raises(ConfigError, match=r"Unexpected Response: 401.*set QDRANT_API_KEY if it has a key") as told:
        build_index(small / "corpus", tmp_path / "index", backend="qdrant", settings={"url": f"${SERVER}"})
    assert "another" not in str(told.value)


def test_a_password_is_neither_recorded_nor_told(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    url = os.environ["DATABASE_URL"].replace("postgres@", "postgres:se%2Fcret@") + "&sslpassword=hidden"
    options = {"backend": "pgvector", "settings": {"url": url}}
    with pytest.raises(ConfigError, match=r"a password.*--setting url='\$DATABASE_URL'") as refused:
        build_index(root / "corpus", tmp_path / "index", **options)
    monkeypatch.setenv("MINE", url)
    build_index(root / "corpus", tmp_path / "index", backend="pgvector", settings={"url": "$MINE"}).close()
    monkeypatch.setenv("MINE", url.replace("/postgres?", "/nothing?"))
    with pytest.raises(ConfigError, match='database "nothing" does not exist') as absent:
        open_index(tmp_path / "index")
    told = f"{refused.value} {absent.value} {caplog.text}".encode()
    told += b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert not [word for word in (b"se%2Fcret", b"se/cret", b"hidden") if word in told]
    monkeypatch.delenv("MINE")
    with pytest.raises(ConfigError, match=r"url=\$MINE, but MINE is not set"):
        open_index(tmp_path / "index")
    monkeypatch.setenv("MINE", url)
    assert len(open_index(tmp_path / "index").search(QUERIES, 1)) == len(QUERIES)


def test_a_text_that_postgresql_cannot_store_is_named(root: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"_id": "good", "text": "a"}) + "\n" + json.dumps({"_id": "bad", "text": "a\0b"}))
    encode_folder(tmp_path / "corpus", [rows], keeps_text=True)
    with pytest.raises(DataError, match="row 'bad' has a NUL character"):
        build_index(tmp_path / "corpus", tmp_path / "index", backend="pgvector")


@pytest.mark.parametrize(("backend", "field"), [("lancedb", "a.b"), ("lancedb", "_distance"), ("qdrant", 'a"b')])
def test_a_field_that_a_backend_cannot_hold_is_refused(tmp_path: Path, backend: str, field: str) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"_id": "a", "text": "b", field: "c"}))
    encode_folder(tmp_path / "corpus", [rows], columns=Columns(keep=(field,)))
    with pytest.raises(ConfigError, match="the kept field"):
        build_index(tmp_path / "corpus", tmp_path / "index", backend=backend)


def test_a_graph_of_pgvector_refuses_more_numbers_than_it_takes() -> None:
    settings = build_settings(find_backend("pgvector"), {"kind": "hnsw"})
    vectors = SimpleNamespace(dim=2001)
    with pytest.raises(ConfigError, match="2001 numbers a row with kind=hnsw; wanted at most 2,000"):
        find_backend("pgvector").build(SimpleNamespace(name="0" * 16, vectors=vectors), Path(), settings)
