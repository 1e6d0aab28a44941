"""Judgements of TREC and BEIR by one reader."""

from __future__ import annotations

from pathlib import Path

import pytest

from poolwise.storage.qrels import Judgement, iter_judgements


def read(folder: Path, text: str) -> tuple[list[Judgement], list[str]]:
    (folder / "qrels.tsv").write_text(text)
    problems: list[str] = []
    return list(iter_judgements(folder / "qrels.tsv", problems)), problems


@pytest.mark.parametrize(
    "text",
    [
        "q1\td1\t2\nq2\td1\t-1\n",
        "\nquery-id\tcorpus-id\tscore\nq1\td1\t2\nq2\td1\t-1\n",
        "qid Q0 docid relevance\nq1 0 d1 2\n\nq2 0 d1 -1",
        "q1\tQ0\td1\t2.0\nq2 0 d1 -1.0\n",
    ],
    ids=["beir", "header", "trec", "mixed spaces"],
)
def test_every_form(tmp_path: Path, text: str) -> None:
    judged, problems = read(tmp_path, text)
    assert not problems
    assert [(j.query, j.document, j.grade) for j in judged] == [("q1", "d1", 2), ("q2", "d1", -1)]


def test_a_pair_is_yielded_once_and_two_grades_are_a_problem(tmp_path: Path) -> None:
    judged, problems = read(tmp_path, "q 0 d 1\nq 0 d 1\nq 0 d 2\n")
    assert judged == [Judgement(1, "q", "d", 1)]
    assert problems == [f"{tmp_path}/qrels.tsv:3: 'd' is judged twice for 'q', 1 and 2"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("q 0 d 1\nq 0 7\n", "2: 3 fields; wanted `query document grade` or TREC's `query 0 document grade`, as above"),
        ("q d\n", "1: 2 fields; wanted"),
        ("q 0 d 0.5\n", "1: grade '0.5' is not a whole number"),
        ("q1 0 d high\n", "1: grade 'high' is not a whole number"),  # q1: no header's name has a digit
        ("qid 0 docid grade\nqid 0 docid grade\n", "2: grade 'grade' is not a whole number"),
        ("q1 0 d inf\n", "1: grade 'inf' is not a whole number"),
        ("q1 0 d nan\n", "1: grade 'nan' is not a whole number"),
    ],
)
def test_what_is_wrong_is_noted_with_its_line(tmp_path: Path, text: str, problem: str) -> None:
    _, problems = read(tmp_path, text)
    assert len(problems) == 1 and problems[0].startswith(f"{tmp_path}/qrels.tsv:{problem}")
