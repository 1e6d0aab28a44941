"""The page as a whole: sound HTML, nothing from outside, nothing unescaped, the records' numbers behind each figure."""

from __future__ import annotations

import csv
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from poolwise.report import write_comparison_report, write_reports
from poolwise.report.blocks import Bullets, Csv
from poolwise.report.document import study_document
from poolwise.report.page import csv_link, html_block
from poolwise.results import Comparison, Measured, Results, StudyResults
from unit.report.synthetic import HAZARD, build_study

VOID = {"meta", "link", "br", "wbr", "img", "hr", "input"}


class Page(HTMLParser):
    """The elements of a page, with a check that each is closed where it should be."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self.figure: list[list[str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag == "figure":
            self.figure.append([])
        if "figure" in self.open:
            self.figure[-1].append("csv" if ("class", "csv") in attrs else tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> after {self.open[-3:]}"

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open):
            self.text.append(data)

    def attributes(self, name: str) -> list[str]:
        return [attributes[name] for _, attributes in self.elements if name in attributes]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    assert write_reports(build_study(), folder) == folder / "report.html"
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def num_item_tables() -> int:
    """The tables of the drill-down are as wide as the page and named by what folds them."""
    extremes = build_study().results.comparison.extremes
    return sum(bool(contrast.items) for task in extremes for contrast in task.contrasts)


def test_three_files_and_no_partial_one(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "report.md", "report.tex"]


def test_nothing_is_loaded_from_outside(folder: Path, page: Page) -> None:
    assert not [tag for tag, _ in page.elements if tag in ("img", "iframe", "object", "embed", "video")]
    assert not page.attributes("src")
    assert {value[0] for value in page.attributes("href")} <= {"#", "d"}
    assert all(value.startswith(("#", "data:")) for value in page.attributes("href"))
    text = (folder / "report.html").read_text()
    assert "@import" not in text and "url(" not in text and "http" not in re.sub(r"http-equiv", "", text)


def test_names_are_shown_as_written_and_never_as_markup(page: Page) -> None:
    assert not {"b", "i"} & {tag for tag, _ in page.elements}
    shown = "".join(page.text)
    assert f"retrieval/{HAZARD}" in shown
    assert "synthetic <study>" in shown
    assert "echo '<done>'" in shown


def test_ids_are_unique_and_every_reference_has_its_target(page: Page) -> None:
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))
    targets = [value[1:] for value in page.attributes("href") if value.startswith("#")]
    assert set(targets + page.attributes("aria-labelledby")) <= set(ids)


def test_what_failed_and_what_was_not_run_yet_are_told_apart() -> None:
    study = build_study()
    study.results.not_run = ["train mean+causal, seed 1", "eval mean+causal, seed 1"]
    failed, waiting = study_document(study).warnings
    assert failed == "1 job failed; its results are missing below: mlp+causal, seed 1."
    assert waiting.startswith("2 jobs not run yet; their results are missing below: train mean+causal")
    study.results.failures = {}
    document = study_document(study)
    assert document.warnings == [waiting]
    assert "failures" not in {section.key for section in document.sections}


def test_the_contents_follow_the_verdict(folder: Path) -> None:
    text = (folder / "report.html").read_text()
    assert text.index('<section id="verdict"') < text.index("<nav") < text.index('<section id="scores"')


def test_sections_stand_in_reading_order(page: Page) -> None:
    sections = [attributes["id"] for tag, attributes in page.elements if tag == "section"]
    expected = (
        "verdict decided scores differences seeds tasks items cost layers training ranks power tests paper failures "
        "repeat glossary methods"
    )
    assert sections == expected.split()


def test_every_figure_has_drawings_with_a_text_and_one_csv(page: Page) -> None:
    assert len(page.figure) == 7
    for tags in page.figure:
        assert tags.count("csv") == 1
    drawings = [attributes for tag, attributes in page.elements if tag == "svg"]
    assert all(a.get("aria-label") for a in drawings if a.get("role") == "img")
    assert all(a.get("role") == "img" or a.get("aria-hidden") == "true" for a in drawings)


def test_tables_are_captioned_scroll_in_their_own_box_and_are_reached_by_keyboard(page: Page) -> None:
    num_cards = len(build_study().results.comparison.recommendations)
    num_tables = sum(tag == "table" for tag, _ in page.elements) - num_item_tables() - num_cards
    assert sum(tag == "caption" for tag, _ in page.elements) == num_tables
    boxes = [attributes for _, attributes in page.elements if attributes.get("class", "").startswith("scroll")]
    assert len(boxes) == num_tables
    assert all(box["tabindex"] == "0" and box["role"] == "region" for box in boxes)


def _downloads(page: Page) -> dict[str, list[list[str]]]:
    links = [attributes for _, attributes in page.elements if "download" in attributes]
    return {link["download"]: list(csv.reader(io.StringIO(unquote(link["href"].split(",", 1)[1])))) for link in links}


def test_the_numbers_behind_figures_and_tables_are_those_of_the_records(page: Page) -> None:
    study = build_study()
    files = _downloads(page)
    assert {"fig-forest.csv", "fig-seeds.csv", "fig-layers.csv", "fig-curves.csv", "tab-tasks.csv"} <= set(files)
    contrasts = study.results.comparison.contrasts
    assert [float(row[3]) for row in files["fig-forest.csv"][1:]] == [c.difference for c in contrasts]
    assert [row[-1] for row in files["tab-tasks.csv"][1:]] == [repr(s.score) for s in study.results.scores]
    assert any(HAZARD in row[0] for row in files["tab-tasks.csv"])


def test_names_may_wrap_at_their_joints_and_numbers_in_brackets_may_not() -> None:
    shown = html_block(Bullets(["latent(keys=last)+causal (0.1243)"]))
    assert shown == "<ul><li>latent(<wbr>keys=last)+<wbr>causal (0.1243)</li></ul>"


def test_a_csv_link_survives_commas_quotes_and_percent_signs() -> None:
    link = csv_link(Csv(["a,b", "c"], [['say "50%#1"', None]]), "x")
    data = re.findall(r'href="data:text/csv;charset=utf-8,([^"]*)"', link)[0]
    assert list(csv.reader(io.StringIO(unquote(data)))) == [["a,b", "c"], ['say "50%#1"', ""]]
    assert "#" not in data


def test_a_failed_job_is_announced_before_the_verdict(folder: Path) -> None:
    text = (folder / "report.html").read_text()
    assert 0 < text.index("1 job failed") < text.index('id="verdict"')


def _bare_study() -> StudyResults:
    comparison = Comparison(reference=None, designs=[], means=[], contrasts=[])
    results = Results(
        name="bare",
        base="b",
        recipe={},
        recipe_hash="h",
        designs=[],
        anchors=[],
        tasks=[],
        scores=[],
        comparison=comparison,
    )
    return StudyResults(results=results, measured=Measured())


def test_a_study_with_nothing_in_it_says_so(tmp_path: Path) -> None:
    page = Page(write_reports(_bare_study(), tmp_path).read_text())
    assert "no recommendation" in "".join(page.text)
    assert [attributes["id"] for tag, attributes in page.elements if tag == "section"] == ["verdict", "repeat"]


def test_one_seed_without_intervals_is_reported(tmp_path: Path) -> None:
    text = write_reports(build_study(1, intervals=False, steps=1), tmp_path).read_text()
    Page(text)
    assert 'class="spread undecided' not in text.split('id="seeds"')[0]


def test_a_comparison_without_runs_has_verdict_scores_and_methods(tmp_path: Path) -> None:
    page = Page(write_comparison_report(build_study().results.comparison, [], tmp_path).read_text())
    sections = [attributes["id"] for tag, attributes in page.elements if tag == "section"]
    first, last = ["verdict", "decided", "scores", "differences"], ["tests", "glossary", "methods"]
    assert sections == [*first, "seeds", "items", "ranks", "power", *last]


def test_the_same_records_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    write_reports(build_study(), tmp_path)
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()


def test_the_verdict_counts_tests_and_verdicts(page: Page) -> None:
    contrasts = build_study().results.comparison.contrasts
    tested = [c for c in contrasts if c.p is not None]
    better, worse = (sum(c.verdict == verdict for c in contrasts) for verdict in ("better", "worse"))
    shown = "".join(page.text)
    counted = f"{better} better, {worse} worse, {len(contrasts) - better - worse} not decided."
    assert f"Verdicts on {len(contrasts)} contrasts: {counted} {len(tested)} tested" in shown
    assert f"{len(contrasts) - len(tested)} could not be tested" in shown


def test_a_csv_holds_no_formula_and_every_number() -> None:
    cells = (
        '=HYPERLINK("http://x")',
        "+1+1",
        "-2+3",
        "@SUM(A1)",
        "\t=1",
        " =1",
        "-0.25",
        "+3",
        "-",
        -0.5,
        "mean+causal",
    )
    link = csv_link(Csv(["=a", "b"], [(cell, 1) for cell in cells]), "k")
    found = list(csv.reader(io.StringIO(unquote(link.split("utf-8,")[1].split('"')[0]))))
    assert found[0] == ["'=a", "b"]
    assert [row[0] for row in found[1:]] == [
        *(f"'{cell}" for cell in cells[:6]),
        *("-0.25", "+3", "-", "-0.5", "mean+causal"),
    ]
