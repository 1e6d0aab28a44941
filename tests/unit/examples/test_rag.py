"""The RAG example: sentences picked without a model, a model behind HTTP, and the check of what they quote."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import poolwise
from chunk_index import DOCUMENTS, build_chunk_index
from support import load_example

rag = load_example("rag")
CHUNKS = [
    rag.Chunk("io#0", "The function open returns a file object. It raises OSError if the file is missing.", "io, 0"),
    rag.Chunk("list[1]", "The method sort changes a list in place. It is a stable sort.", "list, 0"),
]


def problems(answer: str) -> list[str]:
    return [line.problem for line in rag.check_answer(answer, CHUNKS)]


def test_the_sentences_with_the_rarest_shared_words_are_quoted() -> None:
    answer = rag.extract_answer("Which method changes the list?", CHUNKS, num_sentences=1)
    assert answer == "> [list[1]] The method sort changes a list in place."
    assert problems(rag.extract_answer("Is a missing file an error, or a list?", CHUNKS)) == ["", ""]


def test_a_question_that_shares_no_word_has_no_answer() -> None:
    answer = rag.extract_answer("Wie heißt das?", CHUNKS)
    assert answer == rag.NO_ANSWER and problems(answer) == [""]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("> [io#0] returns a file object", ""),
        ("> [io#0] returns a\u00a0\ufb01le   object", ""),
        ("> [io#0] returns a File object", "not in this chunk"),
        ("> [list[1]] returns a file object", "not in this chunk"),
        ("> [io#1] returns a file object", "no such chunk was retrieved"),
        ("> [io#0] returns a", "fewer than 3 words"),
        ("> [io#0] ", "no such chunk was retrieved"),
    ],
)
def test_a_quotation_must_be_in_the_chunk_that_it_cites(line: str, problem: str) -> None:
    assert problems(line) == [problem]


def test_a_statement_needs_a_quotation_below_it() -> None:
    answer = "It returns a file.\n> [io#0] returns a file object\n\nSorting is stable.\nSo is the rest."
    assert problems(answer) == ["", "", "no quotation below it", "no quotation below it"]


@pytest.fixture
def endpoint() -> Iterator[tuple[str, list[Any], list[tuple[int, bytes]]]]:
    """Yield a server's URL, the requests it got, and the answers it gives."""
    asked: list[Any] = []
    answers: list[tuple[int, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((self.path, self.headers.get("Authorization"), body))
            status, answer = answers.pop(0)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1", asked, answers
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_model_gets_the_chunks_and_its_answer_is_checked(endpoint: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    url, asked, answers = endpoint
    monkeypatch.setenv("OPENAI_API_KEY", "a-key")
    told = "It returns a file.\n> [io#0] returns a file object\nIt never fails.\n> [io#0] open can never fail"
    answers.append((200, json.dumps({"choices": [{"message": {"content": told}}]}).encode()))
    answer = rag.ask_model("What does open return?", CHUNKS, url, "my-model")
    ((path, key, body),) = asked
    assert (path, key, body["model"]) == ("/v1/chat/completions", "Bearer a-key", "my-model")
    assert all(f"[{chunk.id}]\n{chunk.text}" in body["messages"][1]["content"] for chunk in CHUNKS)
    assert problems(answer) == ["", "", "", "not in this chunk"]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((404, b"no such model"), "404 Not Found: no such model"),
        ((200, b"<html>"), "JSONDecodeError"),
        ((200, b'{"choices": []}'), "IndexError"),
        ((200, b"[]"), "TypeError"),
    ],
)
def test_an_endpoint_that_does_not_answer_is_one_error(endpoint: Any, answer: tuple[int, bytes], told: str) -> None:
    url, _, answers = endpoint
    answers.append(answer)
    with pytest.raises(poolwise.ConfigError, match=told):
        rag.ask_model("What?", CHUNKS, url, "my-model")


def test_an_endpoint_that_is_not_there_is_one_error() -> None:
    with pytest.raises(poolwise.ConfigError, match="Connection refused"):
        rag.ask_model("What?", CHUNKS, "http://127.0.0.1:9/v1", "my-model")


def test_an_answer_from_an_index_leads_back_to_the_documents(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], endpoint: Any
) -> None:
    build_chunk_index(tmp_path).close()
    assert rag.main([str(tmp_path / "index"), "Which stocks fell?"]) == 0
    quoted, *sources = capsys.readouterr().out.splitlines()
    found = [re.fullmatch(r"\[(.*)\]: (\w+), characters (\d+) to (\d+)", line) for line in sources if "]: " in line]
    assert found and all(found)
    for match in found:
        assert match is not None
        chunk_id, document, first, last = match.groups()
        assert chunk_id.startswith(f"{document}#") and f"> [{chunk_id}] " in quoted + "\n".join(sources)
        assert "tocks fell" in DOCUMENTS[document][int(first) : int(last)]
    url, _, answers = endpoint
    answers.append((200, json.dumps({"choices": [{"message": {"content": "> [park#0] no such words"}}]}).encode()))
    assert rag.main([str(tmp_path / "index"), "Which stocks fell?", "--url", url, "--model", "m"]) == 1
    assert "[NOT VERIFIED: not in this chunk]" in capsys.readouterr().out
    assert rag.main([str(tmp_path / "index"), "Why?", "--url", "http://127.0.0.1:9/v1", "--model", "m"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_an_index_without_texts_or_no_index_is_one_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build_chunk_index(tmp_path, keep_text=False).close()
    capsys.readouterr()
    assert rag.main([str(tmp_path), "Why?"]) == 2
    assert rag.main([str(tmp_path / "index"), "Why?"]) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2 and "no index.json" in told[0] and "stores no texts" in told[1]
