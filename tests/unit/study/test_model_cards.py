"""What a study writes into the cards of its models: its own numbers, and no path of this machine."""

from __future__ import annotations

import statistics
from pathlib import Path

from poolwise.cards import CardFacts, card_text, load_facts, write_card
from poolwise.data.triples import Triple
from poolwise.records import Cost
from poolwise.study.model_cards import study_facts, training_history, update_cards
from unit.cards.test_text import FULL, MODEL
from unit.report.synthetic import ANCHORS, build_study

NAME, RUN = "multilayer+bidirectional", "multilayer+bidirectional-s1"


def test_the_scores_are_those_of_the_results() -> None:
    results = build_study().results
    found = study_facts(results, RUN)
    assert (found.seed, found.num_seeds, found.recipe_hash) == (1, 2, results.recipe_hash)
    by_task = {score.task: score.score for score in results.scores if score.run == RUN}
    assert {task.task: task.score for task in found.tasks} == by_task
    for category in found.categories:
        own = [by_task[info.task] for info in results.tasks if info.category == category.category]
        assert category.own == statistics.fmean(own)
        mean = next(m for m in results.comparison.means if (m.category, m.name) == (category.category, NAME))
        assert (category.mean, category.num_tasks) == (mean.mean, len(own))
        assert category.num_items == sum(i.num_items for i in results.tasks if i.category == category.category)
        for baseline in category.baselines:
            test = next(
                (
                    c
                    for c in results.comparison.against_baselines
                    if (c.category, c.a, c.b) == (category.category, NAME, baseline.name)
                ),
                None,
            )
            if test is not None:
                assert (baseline.difference, baseline.verdict) == (test.difference, test.verdict)
                assert baseline.interval == (test.simultaneous or test.interval)
    assert {baseline.name for category in found.categories for baseline in category.baselines} <= set(ANCHORS)
    assert any(baseline.interval for category in found.categories for baseline in category.baselines)


def test_the_intervals_are_said_to_be_what_they_are() -> None:
    results = build_study().results
    joint = [c.model_copy(update={"simultaneous": (-1.0, 1.0)}) for c in results.comparison.against_baselines]
    comparison = results.comparison.model_copy(update={"against_baselines": joint})
    found = study_facts(results.model_copy(update={"comparison": comparison}), RUN)
    assert "95% interval of that difference, simultaneous for all designs and baselines" in found.interval
    assert any(b.interval == (-1.0, 1.0) for category in found.categories for b in category.baselines)
    without = results.comparison.model_copy(update={"against_baselines": []})
    assert study_facts(results.model_copy(update={"comparison": without}), RUN).interval == ""


def test_a_baseline_above_the_design_is_a_warning() -> None:
    results = build_study().results
    lower = [c.model_copy(update={"difference": -0.1}) for c in results.comparison.against_baselines]
    comparison = results.comparison.model_copy(update={"against_baselines": lower})
    found = study_facts(results.model_copy(update={"comparison": comparison}), RUN)
    assert found.warnings and "do not use it there" in card_text(FULL.model_copy(update={"study": found}))


def test_the_cards_of_a_study_get_its_scores(tmp_path: Path) -> None:
    study = build_study()
    runs = [score.run for score in study.results.scores if score.name == NAME]
    before = CardFacts(name="model", model=MODEL)
    for run in runs:
        (tmp_path / "runs" / run / "model").mkdir(parents=True, exist_ok=True)
        write_card(tmp_path / "runs" / run / "model", before)
    costs = study.measured.costs | {RUN: Cost(encode_texts_per_second=50.0)}
    study = study.model_copy(update={"measured": study.measured.model_copy(update={"costs": costs})})
    update_cards(study, tmp_path)
    folder = tmp_path / "runs" / RUN / "model"
    found = load_facts(folder / "card.yaml")
    assert found is not None and found.study == study_facts(study.results, RUN) and found.texts_per_second == 50.0
    assert "20 s for 1,000 texts" in (folder / "README.md").read_text()
    text = (folder / "README.md").read_text()
    update_cards(study, tmp_path)
    assert (folder / "README.md").read_text() == text


def test_sources_are_named_without_folders() -> None:
    triples = [
        Triple("q", "p", (), source, row)
        for row, source in enumerate(
            ["/home/me/a.jsonl", "data/b.csv.gz", "org/hub-data", "poolwise/pydoc", "/home/me/c"]
        )
    ]
    found = training_history([*triples, triples[0]], {"steps": 3}, 1, ["on a base"], 2.0)
    assert found.sources == {"a.jsonl": 2, "b.csv.gz": 1, "org/hub-data": 1, "poolwise/pydoc": 1, "c": 1}
    assert found.licences == {"poolwise/pydoc": "PSF-2.0"}
    assert "/home" not in card_text(CardFacts(name="x", model=MODEL, training=found))
