"""What ``poolwise eval --index`` prints: a line for each setting."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poolwise.cli.options import show, show_json
from poolwise.cli.table_view import print_table
from poolwise.errors import ConfigError
from poolwise.storage.yaml_text import parse_value

if TYPE_CHECKING:
    from poolwise.search.index_scores import IndexScores


def evaluate_index(
    index: Path,
    queries: Path | None,
    qrels: Path | None,
    k: int,
    sweep: list[str],
    model: str | None,
    device: str | None,
    as_json: bool,
) -> None:
    """Score an index and print the scores."""
    from poolwise.search.index_scores import score_index
    from poolwise.search.query_files import load_queries

    asked = None if queries is None else load_queries(queries)
    scores = score_index(index, queries=asked, qrels=qrels, k=k, sweep=parse_sweep(sweep), model=model, device=device)
    if as_json:
        show_json([asdict(score) for score in scores])
        return
    judged = scores[0].ndcg is not None
    head = [
        "settings",
        f"recall@{scores[0].k}",
        *(["nDCG@10", "of exact"] if judged else []),
        "p50 ms",
        "p90 ms",
        "p99 ms",
    ]
    print_table(head, [_cells(score) for score in scores])
    who = "queries" if asked else "rows of the index, each without itself"
    show(f"{scores[0].num_queries} {who}; time of one search for one encoded query")


def _cells(score: IndexScores) -> list[str]:
    settings = " ".join(f"{name}={value}" for name, value in score.settings.items()) or "as built"
    ndcg = [] if score.ndcg is None else [f"{score.ndcg:.4f}", f"{score.exact_ndcg:.4f}"]
    times = [f"{value:.2f}" for value in (score.latency.p50, score.latency.p90, score.latency.p99)]
    return [settings, f"{score.recall:.4f}", *ndcg, *times]


def parse_sweep(given: list[str]) -> dict[str, list[Any]]:
    """Return the values of ``KEY=VALUE,VALUE`` options. Raises: ConfigError for another form, or a key given twice."""
    found: dict[str, list[Any]] = {}
    for text in given:
        key, sign, values = text.partition("=")
        if not sign or not key.strip() or not values or key.strip() in found:
            raise ConfigError(f"--sweep {text}", "wanted KEY=VALUE,VALUE with each key once", "such as ef_search=32,64")
        found[key.strip()] = [parse_value(value) for value in values.split(",")]
    return found
