"""The table of a benchmark with as many models as a leaderboard has."""

from __future__ import annotations

from pathlib import Path

from poolwise.report import comparison_text, write_comparison_report
from poolwise.report.benchmark import benchmark_lines, benchmark_table
from poolwise.results import BenchmarkRow, BenchmarkTable, CategoryMean, Comparison

KINDS = {"Classification": 8, "Retrieval": 10, "STS": 9, "Clustering": 8, "PairClassification": 3, "Reranking": 2}
NAMES = [f"some-organisation/embedding-model-{number:02d}" for number in range(50)]


def comparison(num_models: int, width: int) -> Comparison:
    """The models in order, each not separated from the next ``width``."""
    names = NAMES[:num_models]
    rows = [
        BenchmarkRow(
            name=name,
            rank=place + 1,
            rank_interval=(max(1, place - 3), place + 5),
            points=50.0 - place,
            mean=0.7 - place / 100,
            mean_of_types=0.6,
            by_type=dict.fromkeys(KINDS, 0.5),
        )
        for place, name in enumerate(names)
    ]
    groups = [names[first : first + width + 1] for first in range(num_models - width)] if width else []
    means = [CategoryMean(category="sts", name=name, mean=0.5, by_seed=[0.5], num_tasks=1) for name in names]
    table = BenchmarkTable(
        benchmark="MTEB(eng, v2)", num_tasks=40, types=KINDS, rows=rows, groups=groups, incomplete={}, method="M."
    )
    return Comparison(reference=None, designs=names, means=means, contrasts=[], benchmark=table)


def table_lines(text: str) -> list[str]:
    return [line for line in text[: text.index("\n\n")].splitlines() if NAMES[0][:17] in line or "Model" in line]


def test_a_terminal_of_80_columns_shows_50_models_and_the_whole_table_when_asked() -> None:
    found = comparison(50, width=12)
    lines = table_lines(comparison_text(found))
    assert len(lines) == 51 and max(map(len, lines)) <= 80
    assert lines[0].split() == ["Model", "Rank", "(95%)", "Tied", "with", "Tasks", "Types"]
    assert lines[20].split() == [NAMES[19], "20", "(16", "to", "24)", "8", "to", "32", "0.5100", "0.6000"]
    assert "Retrieval (10 tasks)" in table_lines(comparison_text(found, verbose=True))[0]


def test_many_groups_are_ranks_beside_each_model_and_few_are_letters_and_lists(tmp_path: Path) -> None:
    many, few = comparison(50, width=12).benchmark, comparison(8, width=4).benchmark
    assert many and few
    assert [row[2].text for row in benchmark_table(many).rows][:2] == ["1 to 13", "1 to 14"]
    assert benchmark_lines(many) == []
    assert [row[2].text for row in benchmark_table(few).rows][:2] == ["a", "a b"]
    assert len(benchmark_lines(few)) == 4
    page = write_comparison_report(comparison(50, width=12), [], tmp_path).read_text()
    assert "8 to 32" in page and "the ranks beside its own" in page and "Not separated: " not in page


def test_a_model_that_is_separated_from_all_has_no_ranks_beside_it() -> None:
    found = comparison(50, width=12).benchmark
    assert found
    apart = found.model_copy(update={"groups": found.groups[1:]})
    assert benchmark_table(apart).rows[0][2].text == ""
