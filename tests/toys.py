"""A toy suite and toy training pairs on disk: small enough for seconds, real enough for every category."""

from __future__ import annotations

import json
from pathlib import Path

ANIMALS = ["cat", "dog", "horse", "cow", "sheep", "goat", "duck", "goose", "fox", "wolf", "bear", "deer"]
TOOLS = ["hammer", "saw", "drill", "wrench", "chisel", "plane", "file", "clamp", "level", "ruler", "shovel", "axe"]


def write_rows(path: Path, rows: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_training(path: Path) -> Path:
    """Write 48 triples: what a thing is called -> what it is, with another thing's description as the negative."""
    rows: list[dict[str, object]] = []
    for words, kind, other in ((ANIMALS, "animal", "tool"), (TOOLS, "tool", "animal")):
        for i, word in enumerate(words):
            for form in ("what is a {}", "tell me about the {}"):
                positive = f"The {word} is an {kind} that people of village {form[0]}{i} know well."
                negative = f"A {other} numbered {form[0]}{i}{kind[0]} is something else."
                rows.append({"query": form.format(word), "positive": positive, "negative": negative})
    write_rows(path, rows)
    return path


def write_suite(root: Path) -> Path:
    """Write one task of each of sts, retrieval, classification and clustering below ``root``."""
    labelled = [(word, "animal") for word in ANIMALS] + [(word, "tool") for word in TOOLS]
    pairs = [
        {"sentence1": f"the {a}", "sentence2": f"a {b}", "score": 5.0 if a == b else float(i % 3)}
        for i, (a, b) in enumerate(zip(ANIMALS, ANIMALS[:6] + TOOLS[:6], strict=True))
    ]
    write_rows(root / "sts" / "toy-sts" / "test.jsonl", pairs)
    retrieval = root / "retrieval" / "toy-search"
    write_rows(
        retrieval / "corpus.jsonl",
        [{"_id": word, "title": "", "text": f"All about the {word}, a kind of {kind}."} for word, kind in labelled],
    )
    write_rows(retrieval / "queries.jsonl", [{"_id": f"q-{word}", "text": f"find the {word}"} for word, _ in labelled])
    judged = "".join(f"q-{word}\t{word}\t1\n" for word, _ in labelled)
    (retrieval / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    for split, form in (("train", "a {} seen at home"), ("test", "one {} in the yard")):
        rows: list[dict[str, object]] = [{"text": form.format(word), "label": kind} for word, kind in labelled]
        write_rows(root / "classification" / "toy-kind" / f"{split}.jsonl", rows)
    clusters: list[dict[str, object]] = [{"text": f"the {word}", "label": kind} for word, kind in labelled]
    write_rows(root / "clustering" / "toy-groups" / "test.jsonl", clusters)
    return root
