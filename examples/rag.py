"""Answer a question from the chunks of an index, and check that every quotation is in the chunk that it cites.

    python examples/rag.py INDEX "which function opens a file?"
    python examples/rag.py INDEX "which function opens a file?" --url http://localhost:8000/v1 --model my-model

Without ``--url`` the answer is extractive: the sentences of the chunks that share the rarest words with the question.
With ``--url`` a chat model behind an OpenAI-compatible endpoint writes the answer and must quote; it gets the key in
OPENAI_API_KEY, if there is one. The check needs no model. The program ends with 1 if a citation fails.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import sys
import unicodedata
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import poolwise

TIMEOUT_SECONDS = 120
NO_ANSWER = "The chunks do not answer the question."
INSTRUCTION = (
    "Answer the question from the chunks alone, one statement per line. Below every statement quote the words that it "
    "rests on, copied exactly, on a line of this form:\n> [chunk id] quoted words\n"
    f"If the chunks do not answer the question, write only: {NO_ANSWER}"
)
MIN_WORDS = 3
"""Words of a quotation: shorter ones are in nearly every chunk and prove nothing."""
QUOTES = "> ["
"""How a line begins that quotes: ``> [chunk id] quoted words``."""


@dataclass(frozen=True)
class Chunk:
    """A retrieved chunk; ``source`` says where its document holds it."""

    id: str
    text: str
    source: str


@dataclass(frozen=True)
class Checked:
    """A line of an answer: its chunk, if it is a quotation, and what is wrong with it; empty if nothing is."""

    line: str
    chunk: Chunk | None
    problem: str


def retrieve(index: poolwise.Index, question: str, k: int) -> list[Chunk]:
    """Return the ``k`` nearest chunks, the nearest first. Raises: ConfigError where the index stores no texts."""
    if not index.record.keeps_text:
        raise poolwise.ConfigError(f"{index.path} stores no texts", "wanted texts", "encode with --keep-text")
    (hits,) = index.search([question], k=k)
    return [Chunk(hit.id, hit.text or "", source_of(hit.fields)) for hit in hits]


def source_of(fields: dict[str, object]) -> str:
    """Return where a chunk comes from: its document and its characters there; empty for a whole document."""
    if "document" not in fields:
        return ""
    return f"{fields['document']}, characters {fields['start_char']} to {fields['end_char']}"


def extract_answer(question: str, chunks: Sequence[Chunk], num_sentences: int = 2) -> str:
    """Return the sentences that share the rarest words with the question, each quoted with the id of its chunk."""
    sentences = [(chunk, sentence) for chunk in chunks for sentence in split_sentences(chunk.text)]
    words = [set(words_of(sentence)) for _, sentence in sentences]
    counts = Counter(word for found in words for word in found)
    asked = set(words_of(question))
    scores = [sum(math.log(len(sentences) / counts[word]) for word in asked & found) for found in words]
    # A sort keeps the order of equals: the sentence of the nearer chunk comes first.
    best = sorted((place for place, score in enumerate(scores) if score > 0), key=lambda place: -scores[place])
    quoted = [f"> [{sentences[place][0].id}] {sentences[place][1]}" for place in best[:num_sentences]]
    return "\n".join(quoted) or NO_ANSWER


def ask_model(question: str, chunks: Sequence[Chunk], url: str, model: str) -> str:
    """Return the answer of a chat model behind an OpenAI-compatible endpoint, such as ``http://localhost:8000/v1``.

    Raises: ConfigError where the endpoint cannot be reached, refuses, or answers something else.
    """
    told = "\n\n".join(f"[{chunk.id}]\n{chunk.text}" for chunk in chunks)
    messages = [
        {"role": "system", "content": INSTRUCTION},
        {"role": "user", "content": f"{told}\n\nQuestion: {question}"},
    ]
    key = os.environ.get("OPENAI_API_KEY")
    request = urllib.request.Request(
        f"{url.rstrip('/')}/chat/completions",
        json.dumps({"model": model, "messages": messages, "temperature": 0}).encode(),
        {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {}),
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            return str(json.load(answer)["choices"][0]["message"]["content"])
    except urllib.error.HTTPError as error:
        problem = f"{error.code} {error.reason}: {error.read(300).decode(errors='replace')}"
    except (OSError, ValueError, LookupError, TypeError) as error:
        problem = f"{type(error).__name__}: {error}"
    raise poolwise.ConfigError(f"--url {url}: {problem}", "wanted an OpenAI-compatible endpoint that answers")


def check_answer(answer: str, chunks: Sequence[Chunk]) -> list[Checked]:
    """Return each line of an answer with what is wrong with it.

    A quotation must be in the chunk that it cites, up to white space and forms of one character; a statement must have
    a quotation below it.
    """
    lines = [line.strip() for line in answer.splitlines() if line.strip()]
    checked = []
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        if line.startswith(QUOTES):
            # By the ids that there are: an id may hold brackets itself.
            chunk = next((chunk for chunk in chunks if line.startswith(f"{QUOTES}{chunk.id}] ")), None)
            quotation = line.removeprefix(f"{QUOTES}{chunk.id}] ") if chunk else ""
            checked.append(Checked(line, chunk, problem_of(quotation, chunk)))
        else:
            is_fine = below.startswith(QUOTES) or line == NO_ANSWER
            checked.append(Checked(line, None, "" if is_fine else "no quotation below it"))
    return checked


def problem_of(quotation: str, chunk: Chunk | None) -> str:
    """Return what is wrong with a quotation; empty if it is in its chunk."""
    if chunk is None:
        return "no such chunk was retrieved"
    if len(quotation.split()) < min(MIN_WORDS, len(chunk.text.split())):
        return f"fewer than {MIN_WORDS} words"
    return "" if plain(quotation) in plain(chunk.text) else "not in this chunk"


def plain(text: str) -> str:
    """Return a text with single spaces, and with one form of each character (ligatures, full-width letters)."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def split_sentences(text: str) -> list[str]:
    """Return the sentences of a text, those below MIN_WORDS left out."""
    parts = re.split(r"(?<=[.!?])\s+|\n+", text)
    return [" ".join(part.split()) for part in parts if len(part.split()) >= MIN_WORDS]


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case."""
    return re.findall(r"\w+", text.lower())


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the answer with its sources; return 1 if a citation fails, 2 for an error that the user can fix."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("index", help="folder that poolwise index wrote")
    parser.add_argument("question")
    parser.add_argument("--k", type=int, default=5, help="chunks to retrieve")
    parser.add_argument("--url", help="of an OpenAI-compatible endpoint, such as http://localhost:8000/v1")
    parser.add_argument("--model", help="that the endpoint serves")
    given = parser.parse_args(arguments)
    if (given.url is None) != (given.model is None):
        parser.error("--url and --model go together")
    try:
        chunks = retrieve(poolwise.open_index(given.index), given.question, given.k)
        if given.url is None:
            answer = extract_answer(given.question, chunks)
        else:
            answer = ask_model(given.question, chunks, given.url, given.model)
    except poolwise.PoolwiseError as error:
        print(error, file=sys.stderr)
        return 2
    checked = check_answer(answer, chunks)
    for line in checked:
        print(line.line, f"  [NOT VERIFIED: {line.problem}]" if line.problem else "", sep="")
    for chunk in dict.fromkeys(line.chunk for line in checked if line.chunk and line.chunk.source):
        print(f"[{chunk.id}]: {chunk.source}")
    return int(any(line.problem for line in checked) or not checked)


if __name__ == "__main__":
    sys.exit(main())
