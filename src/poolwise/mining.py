"""Hard negatives for training pairs: the documents of other pairs that a model ranks high, with guards against wrong
ones."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, model_validator
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import mine_hard_negatives

from poolwise.config import Section
from poolwise.data import Triple
from poolwise.errors import ConfigError, DataError
from poolwise.records import Record, save_record
from poolwise.storage.whole_files import held_from_beside, write_bytes
from poolwise.upstream.hard_negatives import rejected_by_guard

SUFFIXES = (".jsonl", ".jsonl.gz")
QUANTILES = {"lowest": 0.0, "5%": 0.05, "25%": 0.25, "median": 0.5, "75%": 0.75, "95%": 0.95, "highest": 1.0}
NUM_EXAMPLES = 5
_SHOWN = 160


class MiningConfig(Section):
    """How negatives are chosen. A document that answers a query, but is not marked so, is a false negative.

    Source: arXiv:2407.15831 finds the best models with ``relative_margin`` 0.05 and the top candidates.
    """

    negatives: int = Field(default=5, ge=1, description="most negatives per pair")
    range_min: int = Field(default=0, ge=0, description="leave out this many of a query's highest candidates")
    range_max: int | None = Field(default=None, ge=1, description="rank down to which candidates are looked at")
    relative_margin: float | None = Field(
        default=0.05,
        ge=0,
        lt=1,
        description="a negative scores lower than the positive by at least this share of it; null switches it off",
    )
    absolute_margin: float | None = Field(default=None, ge=0, description="a negative's score is this much lower")
    max_score: float | None = Field(default=None, description="a negative's score is at most this")
    min_score: float | None = Field(default=None, description="a negative's score is at least this")
    batch_size: int = Field(default=64, ge=1, description="texts per forward pass")

    @model_validator(mode="after")
    def _leaves_candidates(self) -> MiningConfig:
        if self.range_max is not None and self.range_max - self.range_min < self.negatives:
            raise ValueError(
                f"range_min {self.range_min} to range_max {self.range_max} leaves fewer than {self.negatives} negatives"
            )
        return self


class MinedExample(Record):
    """A pair whose hardest negative scores nearest to its positive: the first place to look for false negatives."""

    query: str
    positive: str
    negative: str
    positive_score: float
    negative_score: float


class MiningReport(Record):
    """What was mined. Scores are cosine similarities of query and document under the model."""

    model: str
    config: dict[str, int | float | None]
    num_pairs: int = Field(description="distinct pairs of query and positive")
    num_documents: int = Field(description="distinct positives, from which negatives are taken")
    num_full: int = Field(description="pairs with as many negatives as asked for")
    num_short: int = Field(description="pairs with fewer, but at least one")
    num_without: int = Field(description="pairs without any")
    num_negatives: int
    rejected: dict[str, int] = Field(description="candidates that each guard rejected, in this order")
    positive_scores: dict[str, float] = Field(description="quantiles, over pairs with negatives")
    negative_scores: dict[str, float] = Field(description="quantiles")
    examples: list[MinedExample]


MinedRow = dict[str, str | list[str]]


def mine_pairs(
    triples: Sequence[Triple], model: SentenceTransformer, config: MiningConfig, name: str
) -> tuple[list[MinedRow], MiningReport]:
    """Return each distinct pair with the negatives mined for it, and a report.

    Negatives that the rows already have are not used. Positives of the same query are never negatives.

    Args:
        model: any embedding model; its own query and document prompts are used.
        name: of the model, for the report.
    Raises: DataError where there are too few documents for the negatives asked for, or no candidate passes the guards.
    """
    pairs = list(dict.fromkeys((triple.query, triple.positive) for triple in triples))
    documents = {positive for _, positive in pairs}
    if len(documents) <= config.negatives + config.range_min:
        raise DataError(
            f"the pairs have {len(documents)} distinct positives",
            f"wanted more than {config.negatives + config.range_min}: negatives are the positives of other queries",
            "ask for fewer with --negatives, or give more pairs",
        )
    found, rejected = _mine(pairs, model, config)
    scored: dict[tuple[str, str], list[tuple[str, float, float]]] = {}
    for row in found:
        scored.setdefault((row["query"], row["positive"]), []).append((row["negative"], *row["scores"]))
    if not scored:
        raise DataError(
            f"no candidate passed the guards (rejected: {_counts(rejected)})",
            "wanted at least one negative",
            "loosen --relative-margin, --absolute-margin, --max-score or --min-score, or raise --range-max",
        )
    rows: list[MinedRow] = [
        {"query": query, "positive": positive, "negative": [text for text, *_ in scored.get((query, positive), [])]}
        for query, positive in pairs
    ]
    return rows, _report(pairs, len(documents), scored, rejected, config, name)


def _mine(
    pairs: Sequence[tuple[str, str]], model: SentenceTransformer, config: MiningConfig
) -> tuple[Sequence[dict[str, Any]], dict[str, int]]:
    from datasets import Dataset

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        found = mine_hard_negatives(
            Dataset.from_dict({"query": [query for query, _ in pairs], "positive": [text for _, text in pairs]}),
            model,
            num_negatives=config.negatives,
            range_min=config.range_min,
            range_max=config.range_max,
            relative_margin=config.relative_margin,
            absolute_margin=config.absolute_margin,
            max_score=config.max_score,
            min_score=config.min_score,
            batch_size=config.batch_size,
            output_format="triplet",
            output_scores=True,
        )
    return found, rejected_by_guard(printed.getvalue())


def _report(
    pairs: Sequence[tuple[str, str]],
    num_documents: int,
    scored: dict[tuple[str, str], list[tuple[str, float, float]]],
    rejected: dict[str, int],
    config: MiningConfig,
    name: str,
) -> MiningReport:
    num_full = sum(len(negatives) == config.negatives for negatives in scored.values())
    hardest = {pair: max(negatives, key=lambda found: found[2]) for pair, negatives in scored.items()}
    nearest = sorted(hardest.items(), key=lambda item: item[1][1] - item[1][2])[:NUM_EXAMPLES]
    return MiningReport(
        model=name,
        config=config.model_dump(),
        num_pairs=len(pairs),
        num_documents=num_documents,
        num_full=num_full,
        num_short=len(scored) - num_full,
        num_without=len(pairs) - len(scored),
        num_negatives=sum(map(len, scored.values())),
        rejected=rejected,
        positive_scores=_quantiles([score for _, score, _ in hardest.values()]),
        negative_scores=_quantiles([score for negatives in scored.values() for _, _, score in negatives]),
        examples=[
            MinedExample(query=query, positive=positive, negative=negative, positive_score=above, negative_score=below)
            for (query, positive), (negative, above, below) in nearest
        ],
    )


def _quantiles(scores: Sequence[float]) -> dict[str, float]:
    return {name: float(np.quantile(scores, share)) for name, share in QUANTILES.items()}


def _counts(rejected: dict[str, int]) -> str:
    return ", ".join(f"{count:,} by {guard}" for guard, count in rejected.items()) or "none"


def require_new(out: Path) -> None:
    """Raise ConfigError where ``out`` exists, or is not named as a file of training rows."""
    if not out.name.endswith(SUFFIXES):
        raise ConfigError(f"--out {out}", f"wanted a file that ends in {' or '.join(SUFFIXES)}")
    if out.exists():
        raise ConfigError(f"--out {out} exists", "wanted a new file", "delete it, or give another name")


@contextlib.contextmanager
def held_new(out: Path) -> Iterator[None]:
    """Hold the lock of a new file of mined rows.

    Raises: ConfigError where another process holds it, or as ``require_new``.
    """
    require_new(out)
    with held_from_beside(out):
        require_new(out)  # once more: another process may have written it since
        yield


def report_path(out: Path) -> Path:
    """Return the file of the report that belongs to a file of mined rows."""
    return out.with_name(f"{out.name.removesuffix('.gz').removesuffix('.jsonl')}.report.json")


def save_mined(rows: Sequence[MinedRow], report: MiningReport, out: Path) -> None:
    """Write the rows as JSON lines that ``data.train`` reads, and the report beside them."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    save_record(report, report_path(out))
    write_bytes(out, gzip.compress(text, mtime=0) if out.suffix == ".gz" else text)


def report_lines(report: MiningReport) -> list[str]:
    """Return a report in words, for the terminal."""
    quantiles = [
        f"{title:9} " + "  ".join(f"{name} {score:.3f}" for name, score in scores.items())
        for title, scores in (("positives", report.positive_scores), ("negatives", report.negative_scores))
    ]
    examples = [
        line
        for example in report.examples
        for line in (
            f"query               {_short(example.query)}",
            f"  positive  {example.positive_score:.3f}   {_short(example.positive)}",
            f"  negative  {example.negative_score:.3f}   {_short(example.negative)}",
        )
    ]
    return [
        f"{report.num_pairs:,} pairs, {report.num_documents:,} documents, {report.num_negatives:,} negatives",
        f"pairs with all negatives: {report.num_full:,}; with fewer: {report.num_short:,}; "
        f"with none: {report.num_without:,}",
        f"candidates rejected: {_counts(report.rejected)}",
        "scores:",
        *quantiles,
        "negatives nearest to their positive; if these answer the query, use stricter guards:",
        *examples,
    ]


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else line[: _SHOWN - 4] + " ..."
