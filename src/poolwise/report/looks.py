"""The part of a report on early stopping: the looks of each training and the step that was kept."""

from __future__ import annotations

from collections.abc import Sequence

from poolwise.report.amounts import score_text
from poolwise.report.blocks import Cell, Column, Csv, Table
from poolwise.results import DesignLooks

NOTE = "The kept step has the highest mean score on the dev tasks; all scores in this report are of its weights."
UNEQUAL = (
    " Some trainings ended early, so the numbers of looks differ: a design with more looks had more steps to choose "
    "from."
)


def looks_table(looks: Sequence[DesignLooks]) -> Table | None:
    """Return one row per training; None without early stopping."""
    if not looks:
        return None
    is_equal = len({len(found.steps) for found in looks}) == 1
    rows = [
        [
            Cell(found.design),
            Cell(str(found.seed), sort=found.seed),
            Cell(str(found.chosen_step), sort=found.chosen_step),
            Cell(str(len(found.steps)), sort=len(found.steps)),
            Cell(score_text(max(found.scores)), sort=max(found.scores)),
            Cell(score_text(found.scores[-1]), sort=found.scores[-1]),
        ]
        for found in looks
    ]
    titles = ("Seed", "Kept step", "Looks", "Dev score of the kept step", "Dev score of the last look")
    return Table(
        key="tab-looks",
        caption="Early stopping: the step whose weights were kept",
        columns=[Column("Design"), *(Column(title, is_number=True) for title in titles)],
        rows=rows,
        csv=Csv(
            ["design", "seed", "step", "dev_score", "is_kept"],
            [
                [found.design, found.seed, step, score, int(step == found.chosen_step)]
                for found in looks
                for step, score in zip(found.steps, found.scores, strict=True)
            ],
        ),
        note=NOTE + ("" if is_equal else UNEQUAL),
        is_sortable=True,
    )
