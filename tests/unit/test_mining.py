"""Mining: which documents become negatives, what the guards reject, the report, the file and the errors."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import toys
from poolwise.cli.main import app
from poolwise.config import build_section
from poolwise.data import Triple, load_source
from poolwise.errors import ConfigError, DataError
from poolwise.mining import MiningConfig, mine_pairs, report_lines, report_path, require_new, save_mined
from poolwise.upstream.hard_negatives import rejected_by_guard

ANGLES = {"q": 0, "right": 20, "same": 22, "near": 30, "far": 60, "opposite": 170, "p": 90, "other": 95}
"""Each text is a unit vector at this angle in degrees, so that a similarity is the cosine of a difference."""


class Angles:
    """An embedding model with known vectors."""

    device = torch.device("cpu")
    model_card_data = SimpleNamespace(base_model="")

    def encode(self, texts: list[str], **_: Any) -> np.ndarray:
        radians = np.deg2rad([ANGLES[text] for text in texts])
        return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)

    encode_query = encode_document = encode

    def similarity(self, a: Any, b: Any) -> torch.Tensor:
        return torch.as_tensor(a) @ torch.as_tensor(b).T

    def similarity_pairwise(self, a: Any, b: Any) -> torch.Tensor:
        return (torch.as_tensor(a) * torch.as_tensor(b)).sum(dim=1)


def triples(*pairs: tuple[str, str]) -> list[Triple]:
    return [Triple(query, positive, ("left out",), "x", row) for row, (query, positive) in enumerate(pairs, start=1)]


PAIRS = triples(("q", "right"), ("p", "same"), ("p", "near"), ("p", "far"), ("p", "opposite"), ("p", "other"))


def mined(**options: Any) -> tuple[dict[str, list[str]], Any]:
    rows, report = mine_pairs(PAIRS, Angles(), MiningConfig(**{"negatives": 2} | options), "angles")  # type: ignore[arg-type]
    return {f"{row['query']} {row['positive']}": row["negative"] for row in rows}, report  # type: ignore[misc]


def test_the_highest_documents_of_other_queries_that_pass_the_margin() -> None:
    found, report = mined()
    # cos 20 = .940, so at most .893: "same" (.927) is too near, "near" is .866.
    assert found["q right"] == ["near", "far"]
    assert found["p near"] == []  # "right" is .342, above the worst positive of p, which is .174
    assert report.rejected["relative_margin"] >= 1
    assert (report.num_pairs, report.num_documents) == (6, 6)
    assert report.num_full + report.num_short + report.num_without == 6
    assert report.num_negatives == sum(map(len, found.values()))


def test_each_guard_moves_the_negatives() -> None:
    assert mined(relative_margin=None)[0]["q right"] == ["same", "near"]
    assert mined(relative_margin=None, absolute_margin=0.02)[0]["q right"] == ["near", "far"]
    assert mined(relative_margin=None, max_score=0.9)[0]["q right"] == ["near", "far"]
    assert mined(relative_margin=None, range_min=1)[0]["q right"] == ["near", "far"]
    assert mined(min_score=0.6)[0]["q right"] == ["near"]


def test_the_report_has_scores_and_the_nearest_negatives_first() -> None:
    _, report = mined(relative_margin=None)
    assert report.positive_scores["highest"] == pytest.approx(np.cos(np.deg2rad(5)), abs=1e-6)
    gaps = [example.positive_score - example.negative_score for example in report.examples]
    assert gaps == sorted(gaps)
    text = "\n".join(report_lines(report))
    assert "6 pairs, 6 documents" in text and "candidates rejected: none" in text
    assert "candidates rejected: " in "\n".join(report_lines(mined()[1])) and "by relative_margin" in str(
        report_lines(mined()[1])
    )


def test_too_few_documents_or_too_strict_guards_are_one_error() -> None:
    with pytest.raises(DataError, match=r"have 6 distinct positives; wanted more than 6"):
        mined(negatives=6)
    with pytest.raises(DataError, match=r"no candidate passed the guards \(rejected: .* by max_score\)"):
        mined(relative_margin=None, max_score=-1.0)
    with pytest.raises(ConfigError, match="leaves fewer than 5 negatives"):
        build_section(MiningConfig, {"range_min": 3, "range_max": 6}, "options")


def test_the_file_is_a_training_source(tmp_path: Path) -> None:
    rows, report = mine_pairs(PAIRS, Angles(), MiningConfig(negatives=2), "angles")  # type: ignore[arg-type]
    for name in ("mined.jsonl", "mined.jsonl.gz"):
        save_mined(rows, report, tmp_path / name)
        source = load_source(str(tmp_path / name))
        assert source.dialect == "query/positive/negative"
        assert [list(t.negatives) for t in source.triples] == [row["negative"] for row in rows]
    assert json.loads(report_path(tmp_path / "mined.jsonl").read_text())["num_pairs"] == 6
    with pytest.raises(ConfigError, match="exists"):
        require_new(tmp_path / "mined.jsonl")
    with pytest.raises(ConfigError, match=r"ends in \.jsonl"):
        require_new(tmp_path / "mined.parquet")


def test_the_counts_are_read_from_what_is_printed() -> None:
    printed = "Setting x\nSkipped 1,234 potential negatives (3.10%) due to the relative_margin of 0.05.\n"
    assert rejected_by_guard(printed) == {"relative_margin": 1234}


def test_the_command_writes_rows_and_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    toys.write_training(Path("pairs.jsonl"))
    import poolwise

    poolwise.build_model("mean+causal", "poolwise/nano").save("model")
    arguments = ["mine", "pairs.jsonl", "--model", "model", "--negatives", "2", "--out", "mined.jsonl", "--json"]
    found = CliRunner().invoke(app, arguments)
    assert found.exit_code == 0, found.output
    report = json.loads(report_path(Path("mined.jsonl")).read_text())
    assert report["num_pairs"] == 48 and report["num_negatives"] > 0
    assert any(triple.negatives for triple in load_source("mined.jsonl").triples)
