"""Cases in which a verdict was wrong: what is printed, what was decided, and about what."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from poolwise.records import Run
from poolwise.results import Comparison, Contrast
from poolwise.stats import compare_runs, with_extremes
from unit.stats.designs.builders import run, score_runs, scores, values

A, B = "mean+causal", "last+causal"


def compare(runs: list[Run], **options: object) -> Comparison:
    return compare_runs(runs, num_resamples=1000, **options)  # type: ignore[arg-type]


def only(result: Comparison) -> Contrast:
    (contrast,) = result.contrasts
    return contrast


def checkpoints(rows: dict[str, dict[str, Sequence[float]]]) -> list[Run]:
    """Models of which one checkpoint is given, with the values of their items by task."""
    tables = ((name, [values(task, row) for task, row in tasks.items()]) for name, tasks in rows.items())
    return [run(name, records, kind="external") for name, records in tables]


def test_equal_needs_the_mean_to_be_shown_equal_too() -> None:
    rng = np.random.default_rng(0)
    differences = np.concatenate([np.full(4, 0.2), rng.uniform(-0.0005, 0.0005, 26)])
    contrast = only(compare(score_runs({"x": [0.5] * 30, "y": (0.5 + differences).tolist()}, kind="external")))
    assert contrast.difference == pytest.approx(0.0267, abs=1e-4)
    assert contrast.typical is not None and abs(contrast.typical) < 0.001
    assert contrast.typical_simultaneous is not None and contrast.typical_simultaneous[1] < 0.005
    assert contrast.simultaneous is not None and contrast.simultaneous[1] > 0.005
    assert contrast.verdict == "not decided"
    assert "the mean is not shown to be" in contrast.note


def test_small_differences_everywhere_are_equal() -> None:
    differences = np.random.default_rng(1).uniform(-0.0005, 0.0005, 30)
    contrast = only(compare(score_runs({"x": [0.5] * 30, "y": (0.5 + differences).tolist()}, kind="external")))
    assert contrast.verdict == "equal"


@pytest.mark.parametrize(("num_items", "verdict"), [(10, "not decided"), (200, "not decided"), (2000, "equal")])
def test_items_without_a_difference_show_what_their_number_can_show(num_items: int, verdict: str) -> None:
    runs = [run(name, [values("t", [1.0] * num_items)], seed=seed, parameters=1) for name in (A, B) for seed in (0, 1)]
    contrast = only(compare(runs, reference=B))
    assert contrast.verdict == verdict
    assert contrast.interval is not None
    # The exact bound of 0 in n at 2.5% on each side.
    assert contrast.interval[1] == pytest.approx(1 - 0.025 ** (1 / num_items), rel=0.1)


def test_checkpoints_are_decided_by_their_items() -> None:
    rng = np.random.default_rng(2)
    easy = {task: rng.uniform(0, 0.5, 1000) for task in ("t1", "t2")}
    contrast = only(compare(checkpoints({"x": easy, "y": {task: row + 0.45 for task, row in easy.items()}})))
    assert (contrast.estimand, contrast.verdict) == ("checkpoints_on_tasks", "better")
    assert contrast.difference == pytest.approx(0.45)
    assert contrast.interval is not None and 0.44 < contrast.interval[0] <= 0.45


def test_a_third_model_does_not_change_what_a_pair_is_tested_by() -> None:
    rng = np.random.default_rng(3)
    base = rng.uniform(0, 0.5, 300)
    bm25 = [run("bm25s", [values("t", base)], kind="external")]
    mine = [
        run("mine", [values("t", base + 0.3 + rng.normal(0, 0.01, 300))], kind="external", seed=s) for s in (0, 1, 2)
    ]
    other = [run("other", [values("t", base + rng.normal(0, 0.01, 300))], kind="external")]
    alone, among = compare([*bm25, *mine]), compare([*bm25, *mine, *other])
    first = only(alone)
    again = next(c for c in among.contrasts if {c.a, c.b} == {"bm25s", "mine"})
    assert first.verdict == again.verdict == "better"
    assert (first.p, first.estimand, first.interval) == (again.p, again.estimand, again.interval)


def test_a_pair_is_compared_on_the_tasks_that_both_have() -> None:
    rng = np.random.default_rng(4)
    tasks = [f"t{number}" for number in range(12)]
    base = rng.uniform(0.3, 0.6, 12)

    def model(name: str, gain: float, having: Sequence[str]) -> Run:
        return run(
            name, [scores(t, base[tasks.index(t)] + gain + rng.normal(0, 0.002)) for t in having], kind="external"
        )

    pair = [model("old", 0.0, tasks), model("new", 0.05, tasks)]
    among = compare([*pair, model("small", 0.0, tasks[:2])])
    found = {(c.a, c.b): c for c in among.contrasts}
    assert (found["new", "old"].num_tasks, found["new", "old"].verdict) == (12, "better")
    assert (found["small", "old"].num_tasks, len(found["small", "old"].left_out)) == (2, 10)
    # What two tasks cannot decide costs the others nothing.
    assert found["new", "old"].p_holm == pytest.approx(found["new", "old"].p)
    assert {mean.name: mean.num_tasks for mean in among.means} == {"old": 2, "new": 2, "small": 2}


def test_items_of_a_task_that_one_model_lacks() -> None:
    rng = np.random.default_rng(8)
    rows = {name: {task: rng.uniform(size=40) for task in ("t1", "t2")} for name in ("x", "y")}
    runs = checkpoints({**rows, "z": {"t1": rng.uniform(size=40)}})
    found = with_extremes(compare(runs), runs).extremes
    assert {task.task: len(task.contrasts) for task in found} == {"retrieval/t1": 3, "retrieval/t2": 1}


def test_categories_can_be_families_of_their_own() -> None:
    runs = [
        run(
            name,
            [
                values(f"t{k}", np.full(60, level), category=kind)
                for kind in ("retrieval", "classification")
                for k in range(2)
            ],
            kind="external",
        )  # type: ignore[arg-type]
        for name, level in (("x", 0.5), ("y", 0.6))
    ]
    together, apart = compare(runs), compare(runs, family="category")
    assert [c.p_holm for c in together.contrasts] == pytest.approx([2 * (c.p or 1) for c in together.contrasts])
    assert [c.p_holm for c in apart.contrasts] == pytest.approx([c.p for c in apart.contrasts])
    assert "0.05 / 2" in together.rule
    assert "retrieval 95% (0.05 / 1)" in apart.rule


def test_two_versions_of_a_task_are_one_task() -> None:
    names = ["BiorxivClusteringP2P", "BiorxivClusteringP2P.v2", "TwentyNewsgroupsClustering"]
    runs = [
        run(m, [scores(n, s, category="clustering") for n in names], kind="external")
        for m, s in (("x", 0.3), ("y", 0.4))
    ]
    result = compare(runs)
    assert only(result).num_tasks == 2
    assert any("versions of one task" in note and "BiorxivClusteringP2P.v2 is used" in note for note in result.notes)


def test_tasks_of_the_same_texts_flip_together() -> None:
    names = [
        f"{source}Clustering{form}" for source in ("Arxiv", "Biorxiv", "Medrxiv", "Reddit") for form in ("P2P", "S2S")
    ]
    gains = np.linspace(0.01, 0.02, 8)
    runs = [
        run("x", [scores(name, 0.3, category="clustering") for name in names], kind="external"),
        run(
            "y", [scores(n, 0.3 + g, category="clustering") for n, g in zip(names, gains, strict=True)], kind="external"
        ),
    ]
    contrast = only(compare(runs))
    # Four sources, not eight tasks: two of sixteen patterns of signs are as extreme.
    assert contrast.p == contrast.smallest_p == pytest.approx(2 / 16)
    assert "4 independent units" in contrast.note
    assert contrast.interval is None


def test_rows_repeated_over_seeds_do_not_calm_the_others() -> None:
    rng = np.random.default_rng(5)
    moving = [
        run(name, [values("t", 0.5 + rng.normal(0, 0.03) + rng.normal(0, 0.05, 200))], kind="external", seed=seed)
        for name in ("x", "y")
        for seed in (0, 1, 2)
    ]
    still = [
        run(f"b{k}", [values("t", np.full(200, 0.4 + k / 100))], kind="external", seed=s)
        for k in range(6)
        for s in (0, 1, 2)
    ]
    alone = only(compare(moving))
    among = next(c for c in compare([*moving, *still]).contrasts if {c.a, c.b} == {"x", "y"})
    assert (alone.p, alone.interval) == (among.p, among.interval)


def test_baselines_are_tested_in_a_family_of_their_own() -> None:
    rng = np.random.default_rng(6)
    base = rng.uniform(0.2, 0.4, 200)
    runs = [
        run(n, [values("t", base + gain + rng.normal(0, 0.01, 200))], seed=s, parameters=1)
        for n, gain in ((A, 0.0), (B, 0.01))
        for s in (0, 1, 2)
    ]
    runs += [
        run("bm25", [values("t", base + 0.3)], kind="anchor"),
        run("untuned", [values("t", base - 0.2)], kind="anchor"),
    ]
    result = compare(runs, reference=B)
    found = {(c.a, c.b): c.verdict for c in result.against_baselines}
    assert found[A, "bm25"] == "worse" and found[A, "untuned"] == "better"
    assert len(result.contrasts) == 1 and len(found) == 4
    (advice,) = result.recommendations
    assert advice.warning.startswith(f"{advice.recommended} is below bm25: do not deploy it")
    assert advice.above == ["untuned"]
    assert advice.scores["bm25"] > advice.scores[advice.recommended] > advice.scores["untuned"]


def test_the_mean_over_categories_is_tested_too() -> None:
    rng = np.random.default_rng(7)
    runs = [
        run(
            name,
            [
                values(kind, 0.4 + gain + rng.normal(0, 0.05, 300), category=kind)
                for kind in ("retrieval", "classification")
            ],
            seed=s,
            parameters=1,
        )  # type: ignore[arg-type]
        for name, gain in ((A, 0.1), (B, 0.0))
        for s in (0, 1, 2)
    ]
    result = compare(runs, reference=B)
    (overall,) = result.overall
    assert (overall.category, overall.verdict, overall.num_tasks) == ("overall", "better", 2)
    assert overall.difference == pytest.approx(np.mean([c.difference for c in result.contrasts]))
    means = {mean.name: mean.mean for mean in result.means if mean.category == "overall"}
    assert means[A] - means[B] == pytest.approx(overall.difference)
    assert result.recommendations[-1].category == "overall"
    assert result.recommendations[-1].recommended == A
    low, high = (
        [
            run(
                name,
                [values(kind, np.full(300, level), category=kind) for kind in ("retrieval", "classification")],
                kind="anchor",
            )
        ]  # type: ignore[arg-type]
        for name, level in (("untuned", 0.2), ("bm25", 0.9))
    )
    warned = compare([*runs, *low, *high], reference=B)
    found = {(c.category, c.a, c.b): c.verdict for c in warned.against_baselines}
    assert found["overall", A, "untuned"] == "better" and found["overall", A, "bm25"] == "worse"
    assert warned.recommendations[-1].warning.startswith(f"{A} is below bm25")
    assert "use" not in warned.recommendations[-1].sentence.lower()
    assert len(warned.overall) == 1
