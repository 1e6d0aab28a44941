"""Candidates of compressed vectors are scored with the full vectors of the same rows, and of no others."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from corpus_folder import DIM
from poolwise.corpus.manifest import SHARDS, Dtype, load_manifest, save_manifest
from poolwise.errors import ConfigError, DataError
from poolwise.search import Index, build_index, open_index
from poolwise.search.rescoring import OVERSAMPLE
from search_folder import texts_of, unit_matrix, write_as

COUNT = 120
TEXTS = texts_of(COUNT)
QUERIES = np.random.default_rng(5).normal(size=(8, DIM)).astype(np.float32)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the same rows in every dtype; the full ones in other orders, as after updates."""
    folder = tmp_path_factory.mktemp("corpora")
    turned = dict(reversed(TEXTS.items()))
    mixed = dict(sorted(TEXTS.items()))
    orders: dict[Dtype, dict[str, str]] = {"int8": TEXTS, "binary": TEXTS, "float16": turned, "float32": mixed}
    return {dtype: write_as(folder / dtype, texts, dtype) for dtype, texts in orders.items()}


@pytest.fixture(scope="module")
def exact(corpora: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Index:
    return build_index(corpora["float32"], tmp_path_factory.mktemp("exact") / "index")


def pairs(results: Any) -> list[list[tuple[str, float]]]:
    return [[(hit.id, round(hit.score, 4)) for hit in hits] for hits in results]


@pytest.mark.parametrize("backend", ["exact", "faiss-hnsw"])
@pytest.mark.parametrize("dtype", ["int8", "binary"])
def test_enough_candidates_give_the_results_of_full_vectors(
    corpora: dict[str, Path], exact: Index, tmp_path: Path, dtype: str, backend: str
) -> None:
    options: Any = {"backend": backend, "rescore": corpora["float32"], "settings": {"oversample": COUNT}}
    build_index(corpora[dtype], tmp_path / "index", **options).close()
    with open_index(tmp_path / "index", check=True) as index:
        assert pairs(index.search(QUERIES, 5)) == pairs(exact.search(QUERIES, 5))
        assert index.record.recall is not None and index.record.recall.value == 1
        assert index.record.rescore is not None and index.record.rescore.corpus == str(corpora["float32"])
    with build_index(corpora[dtype], tmp_path / "plain", backend=backend, min_recall=0) as plain:
        assert pairs(plain.search(QUERIES, 5)) != pairs(exact.search(QUERIES, 5))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_full_vectors_are_in_the_order_of_the_rows(corpora: dict[str, Path], tmp_path: Path, dtype: str) -> None:
    with build_index(corpora["int8"], tmp_path / "index", rescore=corpora[dtype]) as index:
        np.testing.assert_allclose(index.vectors.take(np.arange(COUNT)), unit_matrix(TEXTS), atol=2e-3)
        assert index.record.settings["oversample"] == OVERSAMPLE["int8"]


def test_the_recall_is_that_of_full_vectors(corpora: dict[str, Path], tmp_path: Path) -> None:
    few: Any = {"rescore": corpora["float32"], "settings": {"oversample": 1}}
    with pytest.raises(ConfigError) as raised:
        build_index(corpora["binary"], tmp_path / "index", **few)
    told = re.escape("wanted 0.95 or more (--min-recall); try --setting oversample=2")
    assert re.fullmatch(rf"recall at 10 of exact is 0\.\d+ on 120 rows of the corpus; {told}", str(raised.value))
    assert list(tmp_path.iterdir()) == []
    with build_index(corpora["binary"], tmp_path / "index", min_recall=0, **few) as index:
        assert index.record.recall is not None and index.record.recall.value < 0.9
    with open_index(tmp_path / "index", settings={"oversample": 12}) as index:
        assert len(index.search(QUERIES[:1], 10)[0]) == 10


def test_a_filter_is_answered_with_full_vectors(exact: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from corpus_folder import encode_folder, write_jsonl
    from poolwise.corpus.rows import Columns

    columns, folders = Columns(keep=("lang",)), {}
    source = write_jsonl(tmp_path / "rows.jsonl", TEXTS, lang="en")
    for dtype in ("binary", "float32"):
        folders[dtype] = tmp_path / dtype
        encode_folder(folders[dtype], [source], columns=columns, dtype=dtype)
    options: Any = {"rescore": folders["float32"], "settings": {"oversample": COUNT}}
    with build_index(folders["binary"], tmp_path / "index", **options) as index:
        for few in (10_000, 5):
            monkeypatch.setattr("poolwise.search.index.FEW_ROWS", few)
            assert pairs(index.search(QUERIES, 5, where={"lang": "en"})) == pairs(exact.search(QUERIES, 5))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"weights": "x"},
            "is not .*int8 in full precision: weights 'w' there, 'x' here; wanted the same rows",
        ),
        ({"dim": DIM * 2}, "dim 8 there, 16 here"),
        ({"kept": ("lang",)}, r"kept \(\) there, \('lang',\) here"),
    ],
)
def test_another_model_or_width_is_named(corpora: dict[str, Path], tmp_path: Path, change: Any, told: str) -> None:
    other = write_as(tmp_path / "other", TEXTS, "float32")
    manifest = load_manifest(other)
    model = manifest.model.model_copy(update={n: v for n, v in change.items() if n == "weights"})
    output = manifest.output.model_copy(update={n: v for n, v in change.items() if n in ("dim", "kept")})
    changes = {"model": model, "fingerprint": model.fingerprint, "output": output}
    save_manifest(manifest.model_copy(update=changes), other)
    with pytest.raises(ConfigError, match=told):
        build_index(corpora["int8"], tmp_path / "index", rescore=other)


def test_a_corpus_of_fewer_rows_is_named(corpora: dict[str, Path], tmp_path: Path) -> None:
    other = write_as(tmp_path / "other", dict(list(TEXTS.items())[:-1]), "float32")
    with pytest.raises(ConfigError, match="120 rows there, 119 here"):
        build_index(corpora["int8"], tmp_path / "index", rescore=other)


def test_other_rows_are_named(corpora: dict[str, Path], tmp_path: Path) -> None:
    others = {"ids": {**dict(list(TEXTS.items())[1:]), "new": "red cat"}, "text": {**TEXTS, "d7": "another"}}
    told = {
        "ids": "has other rows than .*: 1 rows that the corpus lacks, such as 'new'; 1 rows of the corpus are missing, "
        "such as 'd0'; wanted the same rows",
        "text": "1 rows with another text or other kept fields, such as 'd7'",
    }
    for name, texts in others.items():
        other = write_as(tmp_path / name, texts, "float32")
        with pytest.raises(DataError, match=told[name]):
            build_index(corpora["int8"], tmp_path / "index", rescore=other)
        assert not (tmp_path / "index").exists()


def test_vectors_that_are_no_fuller_are_refused(corpora: dict[str, Path], tmp_path: Path) -> None:
    for searched, full in [("binary", "int8"), ("float32", "float16"), ("float16", "float16"), ("int8", "binary")]:
        with pytest.raises(ConfigError, match=f"has {full} vectors, and .* has {searched}; wanted float32 or float16"):
            build_index(corpora[searched], tmp_path / "index", rescore=corpora[full])


def test_a_damaged_shard_of_full_vectors_is_named(tmp_path: Path, corpora: dict[str, Path]) -> None:
    other = write_as(tmp_path / "other", TEXTS, "float32")
    shard = sorted((other / SHARDS).iterdir())[1]
    shard.write_bytes(shard.read_bytes()[:-20])
    with pytest.raises(DataError, match=f"{shard.name} is damaged, truncated or missing"):
        build_index(corpora["int8"], tmp_path / "index", rescore=other)
