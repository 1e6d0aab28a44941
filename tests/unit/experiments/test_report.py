"""The report: one file, with every metric over time, and words for what is drawn."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ab_folder import CLICKED, LATENCY, begun, design, run_traffic
from poolwise.experiments import analyse
from poolwise.experiments.report import experiment_document, write_experiment_report
from poolwise.experiments.view import analysis_text, days_text
from poolwise.report.blocks import Cards, Figure


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = begun(tmp_path_factory.mktemp("x") / "ab", design(metrics=[CLICKED, LATENCY]))
    run_traffic(place, {"A": 0.3, "B": 0.45})
    return place


def test_the_report_is_one_file_without_requests(folder: Path, tmp_path: Path) -> None:
    made = design(metrics=[CLICKED, LATENCY])
    write_experiment_report(analyse(folder), made, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    HTMLParser().feed(page)
    assert not re.findall(r'(?:src|href)="(?!#|data:)', page)
    assert "superior" in page and made.salt not in page
    assert page.count('class="sequence') == 2


def test_a_figure_has_the_numbers_of_every_look(folder: Path) -> None:
    found = analyse(folder)
    document = experiment_document(found, design(metrics=[CLICKED, LATENCY]))
    figure = next(block for section in document.sections for block in section.blocks if isinstance(block, Figure))
    looks = found.metrics[0].looks
    assert len(figure.csv.rows) == len(looks)
    assert list(figure.csv.rows[-1][-2:]) == list(looks[-1].interval)
    assert all(len(row) == len(figure.csv.header) for row in figure.csv.rows)
    assert "superior" in figure.panels[0].alt
    # Drawn points stay inside the panel, however wide the first intervals are.
    path = re.findall(r' d="([^"]+)"', figure.panels[0].svg)[0]
    heights = [float(y) for y in re.findall(r",(-?[\d.]+)", path)]
    assert min(heights) >= 8 and max(heights) <= 166


@pytest.mark.parametrize(
    ("rates", "kind", "name"),
    [({"A": 0.3, "B": 0.5}, "decided", "B"), ({"A": 0.5, "B": 0.3}, "stop", "A"), ({"A": 0.3, "B": 0.3}, "open", "A")],
)
def test_the_card_says_what_to_do(tmp_path: Path, rates: dict[str, float], kind: str, name: str) -> None:
    made = design(metrics=[CLICKED | {"margin": 0.04}])
    place = begun(tmp_path / "ab", made)
    run_traffic(place, rates, users=700)
    cards = experiment_document(analyse(place), made).sections[0].blocks[0]
    assert isinstance(cards, Cards)
    assert (cards.items[0].kind, cards.items[0].name) == (kind, name)
    assert bool(cards.items[0].warning) == (kind == "stop")


def test_a_wrong_split_is_warned_of_at_the_top(tmp_path: Path) -> None:
    place = begun(tmp_path / "ab")
    run_traffic(place, {"A": 0.3, "B": 0.3}, users=400)
    found = analyse(place)
    broken = found.model_copy(update={"split": found.split.model_copy(update={"is_right": False})})
    assert "no result below can be trusted" in experiment_document(broken, design()).warnings[0]


def test_before_the_first_event(tmp_path: Path) -> None:
    found = analyse(begun(tmp_path / "ab"))
    assert analysis_text(found) == "Experiment toy: no exposures yet."
    (tmp_path / "ab" / "events.jsonl").write_text("cut")
    assert "events.jsonl:1: the line was cut" in analysis_text(analyse(tmp_path / "ab"))
    write_experiment_report(found, design(), tmp_path / "report.html")
    assert "No exposures yet." in (tmp_path / "report.html").read_text()


def test_times_in_words() -> None:
    assert [days_text(days) for days in (None, 0.2, 12.4)] == ["–", "a day or less", "about 12 days"]
