"""Every backend finds what exact search finds, with filters and after it was opened again."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from corpus_folder import DIM
from poolwise.errors import ConfigError, DataError
from poolwise.search import Index, build_index, open_index
from poolwise.search.backends import BACKENDS, Found, Settings, build_settings, find_backend
from poolwise.search.backends.faiss_files import FILE
from poolwise.search.index import FEW_ROWS
from search_folder import build, write_corpus

COUNT = 600
EASY = {"faiss-hnsw": {"ef_search": 300}, "faiss-ivfpq": {"nprobe": 100, "oversample": 40}}
"""Settings with which a backend finds nearly everything among 600 rows."""
QUERIES = np.random.default_rng(2).normal(size=(9, DIM)).astype(np.float32)


LOCAL = [name for name in sorted(BACKENDS) if name.startswith(("exact", "faiss"))]
"""Those in databases are in ``test_databases.py``."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"), COUNT, shard_rows=200)


@pytest.fixture(scope="module")
def exact(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Index:
    return build_index(corpus, tmp_path_factory.mktemp("exact") / "index", backend="exact")


@pytest.fixture(scope="module", params=LOCAL)
def index(request: pytest.FixtureRequest, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Index:
    settings = EASY.get(request.param, {})
    return build_index(corpus, tmp_path_factory.mktemp("any") / "index", backend=request.param, settings=settings)


def pairs(results: Any) -> list[list[tuple[str, float]]]:
    return [[(hit.id, round(hit.score, 4)) for hit in hits] for hits in results]


def test_results_and_scores_are_those_of_exact_search(index: Index, exact: Index) -> None:
    assert pairs(index.search(QUERIES, 5)) == pairs(exact.search(QUERIES, 5))


@pytest.mark.parametrize("where", [{"lang": "de"}, ["year>=2400"], {"year": [2001, 2002, 2003]}])
def test_a_filtered_search_has_k_results_where_k_match(index: Index, exact: Index, where: Any) -> None:
    found = index.search(QUERIES, 3, where=where)
    assert [len(hits) for hits in found] == [3] * len(QUERIES)
    assert pairs(found) == pairs(exact.search(QUERIES, 3, where=where))


def test_a_filter_that_many_rows_pass_is_given_to_the_backend(
    index: Index, exact: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("poolwise.search.index.FEW_ROWS", 10)
    assert FEW_ROWS > COUNT
    for k in (3, 150):
        found = index.search(QUERIES, k, where={"lang": "de"})
        assert [len(hits) for hits in found] == [k] * len(QUERIES)
        assert {hit.fields["lang"] for hits in found for hit in hits} == {"de"}
        best = [hits[0].id for hits in exact.search(QUERIES, 1, where={"lang": "de"})]
        assert [hits[0].id for hits in found] == best


def test_an_opened_index_is_the_one_that_was_built(index: Index) -> None:
    with open_index(index.path, check=True) as again:
        assert pairs(again.search(QUERIES, 4)) == pairs(index.search(QUERIES, 4))


def test_the_recall_is_reported_where_a_search_is_approximate(index: Index) -> None:
    recall = index.record.recall
    assert (recall is None) == find_backend(index.record.backend).is_exact
    if recall is not None:
        assert 0.95 <= recall.value <= 1
        assert (recall.k, recall.num_queries, recall.queries) == (10, 200, "documents")


@pytest.mark.parametrize("storage", ["float16", "int8"])
def test_a_graph_of_smaller_vectors_gives_full_scores(corpus: Path, exact: Index, tmp_path: Path, storage: str) -> None:
    settings = {"storage": storage, "ef_search": 300, "oversample": 4}
    with build_index(corpus, tmp_path / "small", backend="faiss-hnsw", settings=settings) as small:
        assert pairs(small.search(QUERIES, 5)) == pairs(exact.search(QUERIES, 5))
    with build_index(corpus, tmp_path / "full", backend="faiss-hnsw") as full:
        sizes = [(index.path / "backend" / FILE).stat().st_size for index in (small, full)]
    assert sizes[0] < sizes[1]


def test_a_recall_that_is_too_low_is_refused_with_what_to_try(corpus: Path, tmp_path: Path) -> None:
    settings = {"nprobe": 1, "oversample": 1, "m": 1, "nlist": 15}
    with pytest.raises(ConfigError) as raised:
        build_index(corpus, tmp_path / "index", backend="faiss-ivfpq", settings=settings)
    told = str(raised.value)
    assert "recall at 10 of faiss-ivfpq is 0." in told and "on 200 rows of the corpus; wanted 0.95 or more" in told
    assert "--setting nprobe=2, --setting oversample=2" in told and "--backend exact" in told
    assert list(tmp_path.iterdir()) == []
    options: Any = {"backend": "faiss-ivfpq", "settings": settings, "min_recall": 0.01, "queries": QUERIES}
    with build_index(corpus, tmp_path / "index", **options) as index:
        assert index.record.recall is not None
        assert (index.record.recall.queries, index.record.recall.num_queries) == ("given", len(QUERIES))


def test_settings_of_a_search_are_changed_when_it_is_opened(corpus: Path, exact: Index, tmp_path: Path) -> None:
    options: Any = {"backend": "faiss-ivfpq", "settings": {"nprobe": 1, "nlist": 15}, "min_recall": 0}
    build_index(corpus, tmp_path / "index", **options).close()
    with open_index(tmp_path / "index", settings={"nprobe": 15, "oversample": 60}) as index:
        assert pairs(index.search(QUERIES, 5)) == pairs(exact.search(QUERIES, 5))
    with pytest.raises(ConfigError, match=r"setting nlist of a search with faiss-ivfpq; wanted one of nprobe, over"):
        open_index(tmp_path / "index", settings={"nlist": 4})


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"settings": {"m": 3}}, r"--setting m=3 for vectors of 8 numbers; wanted a divisor of the width"),
        ({"settings": {"nprobes": 3}}, "unknown key 'nprobes'; did you mean 'nprobe'"),
    ],
)
def test_settings_that_cannot_be_are_refused(corpus: Path, tmp_path: Path, options: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        build_index(corpus, tmp_path / "index", backend="faiss-ivfpq", **options)
    assert list(tmp_path.iterdir()) == []


def test_too_few_rows_for_codes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="30 rows for faiss-ivfpq; wanted 256 or more"):
        build(tmp_path, 30, backend="faiss-ivfpq")


def test_the_size_chooses_the_backend(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def chosen(backend: str) -> tuple[str, str]:
        with build_index(corpus, tmp_path / "index", backend=backend, min_recall=0, replace=True) as index:
            return index.record.backend, index.record.reason

    assert chosen("auto") == ("exact", "auto: 600 rows, below 100,000")
    assert chosen("faiss")[0] == "faiss-hnsw"
    monkeypatch.setattr("poolwise.search.build.FEW_ROWS", 500)
    assert chosen("auto") == ("faiss-hnsw", "auto: 600 rows, 0.0 GiB of vectors in memory")
    monkeypatch.setattr("poolwise.search.build.MOST_GRAPH_BYTES", 1000)
    assert chosen("auto")[0] == "faiss-ivfpq"
    monkeypatch.setattr("poolwise.search.build.is_installed", lambda: False)
    assert chosen("auto")[0] == "exact" and "faiss is not installed" in chosen("auto")[1]


def test_a_missing_library_is_named(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ConfigError, match=r"needs the package faiss-cpu; pip install 'poolwise\[search\]'"):
        build_index(corpus, tmp_path / "index", backend="faiss-hnsw")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_in_the_library_is_said_to_be_full(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Path.open

    def opened(path: Path, mode: str = "r", *args: Any, **options: Any) -> Any:
        # Only to write: reading /dev/full never ends.
        return before(Path("/dev/full") if path.name == FILE and mode == "wb" else path, mode, *args, **options)

    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises(OSError, match="No space left") as raised:
        build_index(corpus, tmp_path / "index", backend="faiss-hnsw")
    assert raised.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["garbage", "other"])
def test_a_damaged_file_of_the_library_is_named(corpus: Path, tmp_path: Path, damage: str) -> None:
    with build_index(corpus, tmp_path / "index", backend="faiss-hnsw") as index:
        file = index.path / "backend" / FILE
    size = file.stat().st_size
    if damage == "other":
        build(tmp_path / "small", 300, backend="faiss-hnsw", min_recall=0).close()
        raw = (tmp_path / "small" / "index" / "backend" / FILE).read_bytes()
        file.write_bytes(raw + bytes(size - len(raw)))
    else:
        file.write_bytes(b"?" * size)
    told = "has 300 rows; wanted 600" if damage == "other" else "cannot read .*faiss.index: "
    with pytest.raises(DataError, match=told):
        open_index(tmp_path / "index", check=False)


class _Remote:
    """A backend that keeps something outside the folder, and fails when it is asked to."""

    name, is_exact, settings = "remote", False, Settings

    def __init__(self) -> None:
        self.tables: set[str] = set()

    def build(self, source: Any, folder: Path, settings: Any) -> None:
        self.tables.add(source.name)
        self.rows = sum(len(batch.columns["id"]) for batch in source.batches(7))

    def open(self, source: Any, folder: Path, settings: Any) -> Any:
        assert source.name in self.tables
        return self

    def search(self, queries: Any, k: int, matching: Any) -> Found:
        return Found(np.zeros((len(queries), 1), np.int64), np.zeros((len(queries), 1), np.float32))

    def close(self) -> None:
        pass

    def discard(self, name: str, settings: Any) -> None:
        self.tables.remove(name)


def test_what_a_backend_keeps_elsewhere_goes_with_its_index(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = _Remote()
    monkeypatch.setitem(BACKENDS, "remote", remote)
    options: Any = {"backend": "remote", "min_recall": 0}
    with build_index(corpus, tmp_path / "index", **options) as first:
        # It returns one row of the five that were asked for: exact search gives the others.
        assert len(first.search(QUERIES[:1], 5)[0]) == 5
    assert remote.rows == COUNT and len(remote.tables) == 1
    with build_index(corpus, tmp_path / "index", **options) as second:
        assert remote.tables == {second.record.name} != {first.record.name}
    monkeypatch.setattr("poolwise.search.build.recall_of", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        build_index(corpus, tmp_path / "index", **options)
    assert remote.tables == {second.record.name}
    build_index(corpus, tmp_path / "index", backend="exact", replace=True).close()
    assert remote.tables == set()


def test_settings_have_defaults_and_advice() -> None:
    for backend in BACKENDS.values():
        settings = build_settings(backend, {})
        assert "--setting " in settings.advice()
        assert type(settings).model_fields.keys() >= settings.AT_SEARCH
