"""An index is updated in place; one of another corpus, model or settings is kept unless the user asks otherwise."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from corpus_folder import DIM, encode_folder
from poolwise.corpus.manifest import load_manifest, save_manifest
from poolwise.errors import ConfigError, DataError
from poolwise.search import build_index, open_index
from poolwise.search.replaced import require_same_index
from poolwise.search.vectors import Vectors
from poolwise.storage.whole_files import whole_folder
from search_folder import texts_of, write_as, write_corpus, write_jsonl

QUERY = np.ones((1, DIM), np.float32)


def test_an_index_is_updated_with_its_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus, out = tmp_path / "corpus", tmp_path / "index"
    for count in (10, 25):
        encode_folder(corpus, [write_jsonl(tmp_path / "rows.jsonl", texts_of(count))])
        monkeypatch.chdir(tmp_path)  # a path is compared, not its spelling
        with build_index("corpus" if count == 25 else corpus, out) as index:
            assert len(index) == count
    monkeypatch.setattr("poolwise.search.build.FEW_ROWS", 20)
    with build_index(corpus, out, min_recall=0) as index:
        assert index.record.backend == "faiss-hnsw"


@pytest.mark.parametrize(
    ("first", "then", "told"),
    [
        ({}, {"backend": "faiss-hnsw", "min_recall": 0}, "backend exact there, faiss-hnsw now"),
        ({}, {"settings": {"oversample": 2}}, "oversample 1 there, 2 now"),
        ({}, {"similarity": "dot"}, "similarity 'cosine' there, 'dot' now"),
        ({"query_prompt": "q: "}, {}, "query_prompt 'q: ' there, None now"),
        ({"hybrid": True}, {}, "has_words True there, False now"),
    ],
)
def test_other_settings_are_named(tmp_path: Path, first: Any, then: Any, told: str) -> None:
    corpus, out = write_corpus(tmp_path, 10), tmp_path / "index"
    build_index(corpus, out, **first).close()
    before = (out / "index.json").read_bytes()
    with pytest.raises(ConfigError, match=f"index holds an index of 10 rows of .*: {told}; .*or --replace"):
        build_index(corpus, out, **then)
    assert (out / "index.json").read_bytes() == before
    build_index(corpus, out, replace=True, **then).close()
    assert (out / "index.json").read_bytes() != before


def test_another_corpus_or_model_is_named(tmp_path: Path) -> None:
    corpus, other = (write_as(tmp_path / name, texts_of(12), "float32") for name in ("a", "b"))
    out = tmp_path / "index"
    build_index(corpus, out).close()
    with pytest.raises(ConfigError, match=f"an index of 12 rows of {corpus}: corpus {corpus} there, {other} now"):
        build_index(other, out)
    manifest = load_manifest(corpus)
    model = manifest.model.model_copy(update={"pooling": "last"})
    save_manifest(manifest.model_copy(update={"model": model, "fingerprint": model.fingerprint}), corpus)
    with pytest.raises(ConfigError, match="pooling 'mean' there, 'last' now"):
        build_index(corpus, out)


def test_a_password_is_not_shown(tmp_path: Path) -> None:
    with build_index(write_corpus(tmp_path, 10), tmp_path / "index") as index:
        record = index.record
    urls = [None, "postgresql://me:hunter2@host/documents"]
    present, new = (record.model_copy(update={"settings": {"url": url}}) for url in urls)
    with pytest.raises(ConfigError, match="url None there, 'postgresql://host/documents' now") as raised:
        require_same_index(tmp_path, present, new)
    assert "hunter2" not in str(raised.value)


def test_two_builds_into_one_folder_exclude_each_other(tmp_path: Path) -> None:
    corpus, other = write_corpus(tmp_path / "a", 10), write_corpus(tmp_path / "b", 20)
    out = tmp_path / "index"
    build_index(corpus, out).close()
    with (
        whole_folder(out) as theirs,
        pytest.raises(ConfigError, match=f"{out} is in use by process {os.getpid()}"),
    ):
        (theirs / "index.json").write_text("half")
        build_index(other, out, replace=True)
    build_index(other, out, replace=True).close()
    with open_index(out, check=True) as index:
        assert len(index) == 20


def test_an_index_that_is_replaced_while_it_is_opened_is_not_a_mixture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, other = write_corpus(tmp_path / "a", 10), write_corpus(tmp_path / "b", 20)
    out = tmp_path / "index"
    build_index(corpus, out, hybrid=True).close()
    replaced: list[bool] = []

    def replacing(folder: Path, *given: Any) -> Vectors:
        if folder == out and not replaced:
            replaced.append(True)
            build_index(other, out, hybrid=True, replace=True).close()
        return Vectors(folder, *given)

    monkeypatch.setattr("poolwise.search.index.Vectors", replacing)
    with open_index(out) as index:
        assert replaced and len(index) == len(index.vectors) == len(index.rows) == 20
        # What is read later is not mixed in either.
        build_index(corpus, out, hybrid=True, replace=True).close()
        with pytest.raises(DataError, match=r"index was replaced after it was opened; .*; open it again"):
            index._words  # noqa: B018


def killed_at(step: int, run: Callable[[], Any]) -> bool:
    """Run in a child that kills itself before its nth change to the disk; return whether it came so far."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    try:
        changes = {"os.rename", "os.remove", "os.rmdir", "os.mkdir"}
        seen = 0

        def hook(event: str, given: Any) -> None:
            nonlocal seen
            is_write = event == "open" and isinstance(given[2], int) and given[2] & (os.O_WRONLY | os.O_RDWR)
            if event in changes or is_write:
                seen += 1
                if seen == step:
                    os.kill(os.getpid(), signal.SIGKILL)

        signal.alarm(120)
        sys.addaudithook(hook)
        run()
        os._exit(0)
    finally:
        os._exit(1)


def test_a_build_that_is_killed_at_any_step_leaves_one_whole_index_or_none(tmp_path: Path) -> None:
    old, new = write_corpus(tmp_path / "a", 10), write_corpus(tmp_path / "b", 20)
    saved, place = tmp_path / "saved", tmp_path / "place"
    build_index(old, saved).close()
    found, step = [], 1
    while True:
        place.mkdir()
        shutil.copytree(saved, place / "index")
        is_killed = killed_at(step, lambda: build_index(new, place / "index", replace=True).close())
        try:
            with open_index(place / "index", check=True) as index:
                assert len(index.search(QUERY, 30)[0]) == len(index)
                found.append(len(index))
        except DataError as error:
            assert "has no index.json" in str(error) and not (place / "index").exists()
            found.append(0)
        if found[-1] == 0 or not is_killed:
            # A failed build puts the old index back; the next one clears up.
            with pytest.raises(DataError):
                build_index(tmp_path / "nowhere", place / "index")
            with open_index(place / "index", check=True) as index:
                assert len(index) == (20 if not is_killed else 10)
            build_index(new, place / "index", replace=True).close()
            assert [path.name for path in place.iterdir()] == ["index"]
        if not is_killed:
            break
        shutil.rmtree(place)
        step += 1
    # The old one, none between two renames, and the new one.
    assert found == sorted(found, key=[10, 0, 20].index) and set(found) == {10, 0, 20}
    assert step > 10
