"""Trainings that seem to have failed are named at the top of a report."""

from __future__ import annotations

from collections.abc import Callable

from poolwise.report.document import study_document
from poolwise.report.trainings import failed_trainings
from poolwise.results import StudyResults, TaskScore
from unit.report.synthetic import build_study


def with_scores(study: StudyResults, score: Callable[[TaskScore], float]) -> StudyResults:
    rows = [row.model_copy(update={"score": score(row)}) for row in study.results.scores]
    return study.model_copy(update={"results": study.results.model_copy(update={"scores": rows})})


def test_only_what_is_below_the_untuned_base_in_every_category_has_failed() -> None:
    study = build_study()
    design, other = (info.design for info in study.results.designs[:2])
    category = study.results.tasks[0].category
    of_task = {task.task: task.category for task in study.results.tasks}

    def score(row: TaskScore) -> float:
        if row.name == design and row.seed == 1:
            return 0.1
        if row.name == other and row.seed == 0:  # one category alone is below
            return 0.1 if of_task[row.task] == category else 0.9
        return 0.2 if row.name == "untuned" else 0.8

    found = with_scores(study, score)
    assert failed_trainings(found.results) == [(design, 1)]
    warning = study_document(found).warnings[-1]
    assert warning.startswith(f"Training seems to have failed: {design}, seed 1 is below the untuned base in every")
    assert "train.learning_rate" in warning


def test_without_the_baseline_or_a_failure_nothing_is_said() -> None:
    study = with_scores(build_study(), lambda row: 0.2 if row.name == "untuned" else 0.8)
    assert not [line for line in study_document(study).warnings if "Training seems" in line]
    bad = with_scores(study, lambda row: 0.1)
    without = [row for row in bad.results.scores if row.name != "untuned"]
    bare = bad.results.model_copy(update={"scores": without})
    assert failed_trainings(bare) == []
