"""The report as a reader sees it: in headless Chromium, wide and narrow, light, dark and in print."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.report.browser import Browser, missing_browser, open_browser
from e2e.report.contrast import contrast, luminance
from poolwise.records import load_record
from poolwise.report import write_reports
from poolwise.results import StudyResults
from unit.report.synthetic import HAZARD, RIGHT_TO_LEFT, build_study

pytestmark = pytest.mark.skipif(bool(missing_browser()), reason=missing_browser())


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_reports(build_study(), tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


@pytest.fixture
def page(chromium: Browser, report: Path) -> Browser:
    chromium.resize(1200, 900)
    chromium.prefer("light")
    chromium.open(report)
    return chromium


def test_the_console_stays_empty(page: Browser) -> None:
    _unfold(page)
    page.run("document.querySelector('#tab-tasks th button').click()")
    assert page.console() == []


def test_the_browser_tells_of_errors(page: Browser) -> None:
    page.run("setTimeout(() => { throw new Error('planted'); })")
    assert "planted" in " ".join(page.console())


def _column(page: Browser, table: str, column: int) -> list[str]:
    return page.run(
        "return [...document.querySelectorAll(`#${arguments[0]} tbody tr`)]"
        ".map((row) => row.cells[arguments[1]].dataset.sort ?? row.cells[arguments[1]].firstChild.textContent)",
        table,
        column,
    )


def _press(page: Browser, table: str, column: int) -> str | None:
    return page.run(
        "const head = document.querySelectorAll(`#${arguments[0]} thead th`)[arguments[1]];"
        "head.querySelector('button').click(); return head.getAttribute('aria-sort')",
        table,
        column,
    )


def test_pressing_a_number_column_sorts_it_and_pressing_again_turns_it(page: Browser) -> None:
    before = [float(value) for value in _column(page, "tab-tasks", 1)]
    assert before != sorted(before)
    assert _press(page, "tab-tasks", 1) == "ascending"
    assert [float(value) for value in _column(page, "tab-tasks", 1)] == sorted(before)
    assert _press(page, "tab-tasks", 1) == "descending"
    assert [float(value) for value in _column(page, "tab-tasks", 1)] == sorted(before, reverse=True)


def test_the_papers_table_sorts_by_means_though_it_shows_differences(page: Browser) -> None:
    means = {m.name: m.mean for m in build_study().results.comparison.means if m.category == "sts"}
    _press(page, "tab-paper", 1)
    _press(page, "tab-paper", 1)
    names = page.run(
        "return [...document.querySelectorAll('#tab-paper tbody th')].map((cell) => "
        "[...cell.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data).join(''))"
    )
    shown = [means[name] for name in names if name in means]
    assert shown == sorted(means.values(), reverse=True)
    assert page.run("return document.querySelectorAll('#tab-paper tr.break').length") == 0


def test_rows_without_a_value_come_last_in_both_orders(page: Browser) -> None:
    num_tasks = len(_column(page, "tab-contrasts", 5))
    for _ in range(2):
        _press(page, "tab-contrasts", 5)
        values = _column(page, "tab-contrasts", 5)
        assert "–" in values
        assert values.index("–") == num_tasks - values.count("–")


def test_only_the_pressed_column_is_marked_as_sorted(page: Browser) -> None:
    _press(page, "tab-cost", 1)
    _press(page, "tab-cost", 2)
    marked = page.run("return [...document.querySelectorAll('#tab-cost th')].map((th) => th.getAttribute('aria-sort'))")
    assert [index for index, value in enumerate(marked) if value] == [2]


@pytest.mark.parametrize("width", [320, 375, 768, 1200])
def test_the_page_never_scrolls_sideways(page: Browser, width: int) -> None:
    page.resize(width, 800)
    _unfold(page)
    page.run("return new Promise((done) => setTimeout(done, 100))")
    assert page.run("return document.documentElement.scrollWidth") <= width


RECORDED = Path(__file__).parents[3] / "docs/results/controlled/results.json"
BROKEN_WORDS = """
const broken = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let node = walk.nextNode(); node; node = walk.nextNode()) {
  if (node.parentNode.closest('script, style, pre, svg')) continue;
  for (const word of node.data.matchAll(/\\b[A-Za-z]{2,}\\b/g)) {
    const range = document.createRange();
    range.setStart(node, word.index);
    range.setEnd(node, word.index + word[0].length);
    if (new Set([...range.getClientRects()].map((box) => Math.round(box.top))).size > 1) broken.push(word[0]);
  }
}
return broken"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_reports(load_record(StudyResults, RECORDED), tmp_path_factory.mktemp("recorded"))


def test_on_a_phone_the_recorded_study_is_short_and_no_name_is_broken_within_a_word(
    chromium: Browser, recorded: Path
) -> None:
    chromium.resize(375, 800)
    chromium.open(recorded)
    assert chromium.run("return document.documentElement.scrollHeight") < 12_000
    assert chromium.run(BROKEN_WORDS) == []
    chromium.run("for (const part of document.querySelectorAll('.part')) part.open = true;")
    assert chromium.run(BROKEN_WORDS) == []


def test_the_columns_of_the_baselines_are_in_view(chromium: Browser, recorded: Path) -> None:
    chromium.resize(1280, 800)
    chromium.open(recorded)
    right = chromium.run(
        "return Object.fromEntries([...document.querySelectorAll('#tab-tasks thead th')]"
        ".map((cell) => [cell.innerText.trim(), cell.getBoundingClientRect().right]))"
    )
    assert all(0 < right[name] < 1280 for name in ("untuned", "bm25", "random"))


def test_a_model_below_a_baseline_looks_like_a_warning(chromium: Browser, recorded: Path) -> None:
    chromium.resize(1280, 800)
    chromium.open(recorded)
    words, weight, colour, plain = chromium.run(
        "const card = document.querySelector('.verdict.stop'), warning = card.querySelector('p.stop');"
        "return [card.innerText, getComputedStyle(warning).fontWeight, getComputedStyle(warning).color, "
        "getComputedStyle(document.body).color]"
    )
    assert "is below bm25: do not deploy it" in words and "load_model" not in words
    assert int(weight) >= 600 and colour != plain


def test_on_a_phone_parts_are_closed_and_a_link_opens_its_part(page: Browser) -> None:
    page.resize(375, 800)
    page.run("location.reload()")
    opened = "return [...document.querySelectorAll('.part')].filter((part) => part.open).map((p) => p.parentNode.id)"
    assert page.run(opened) == []
    page.run("document.querySelector('nav a[href=\"#power\"]').click()")
    page.run("return new Promise((done) => setTimeout(done, 100))")
    assert page.run(opened) == ["power"]


def test_the_verdict_stands_on_the_first_screen_of_a_phone(page: Browser) -> None:
    page.resize(375, 800)
    assert page.run("return document.querySelector('.verdict p').getBoundingClientRect().bottom") < 800


def test_wide_tables_scroll_in_their_own_box(page: Browser) -> None:
    page.resize(768, 800)
    wide = page.run(
        "const box = document.querySelector('#tab-tasks').parentNode; box.scrollLeft = 100;"
        "return [box.scrollWidth > box.clientWidth, box.scrollLeft]"
    )
    assert wide == [True, 100]


def test_on_a_phone_nothing_scrolls_sideways_and_cells_are_named(page: Browser) -> None:
    page.resize(375, 800)
    _unfold(page)
    page.run("return new Promise((done) => setTimeout(done, 100))")
    boxes = page.run(
        "return [...document.querySelectorAll('*')].filter((node) => node.scrollWidth > node.clientWidth + 1 && "
        "getComputedStyle(node).overflowX !== 'visible').map((node) => node.tagName + node.className)"
    )
    assert boxes == []
    named = page.run(
        "const cells = document.querySelector('#tab-contrasts tbody tr').cells;"
        "return [...cells].map((cell) => getComputedStyle(cell, '::before').content)"
    )
    assert named[1:5] == ['"Contrast"', '"Verdict"', '"Difference"', '"Interval"']
    names = page.run(
        "return getComputedStyle(document.querySelector('#tab-tasks tbody td:nth-child(6)'), '::before').content"
    )
    assert names == '"latent(keys=last)+causal"'


def _unfold(page: Browser) -> None:
    page.run("for (const fold of document.querySelectorAll('details')) fold.open = true;")


def _open_by_keyboard(page: Browser, summary: str) -> None:
    page.run("document.querySelector(arguments[0]).focus()", summary)
    for kind in ("keyDown", "keyUp"):
        page.devtools(
            "Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", text="\r", windowsVirtualKeyCode=13
        )
    page.run("return new Promise((done) => setTimeout(done, 50))")


CONTRAST = "#items .drill > details"
TASK = "#items > .part > details > summary"


def test_the_keyboard_leads_to_the_texts_of_an_item_with_both_scores(page: Browser) -> None:
    _open_by_keyboard(page, TASK)
    _open_by_keyboard(page, f"{CONTRAST} > summary")
    rows = page.run(f"return [...document.querySelector('{CONTRAST} tbody').rows].map((row) => row.innerText)")
    assert [line for line in rows if line.startswith("Higher")] == ["Higher with the first", "Higher with the second"]
    assert rows[1].split() == ["q1", "0.9000", "0.1000"]
    assert HAZARD in rows[2] and "word word" in rows[2]
    assert rows[3].split() == ["<i>q2</i>", "0.8000", "0.2000"]
    assert "</script><script>document.title = 'taken'</script>" in rows[4]
    assert "taken" not in page.run("return document.title")
    # Closed and opened again, a text is not there twice.
    _open_by_keyboard(page, f"{CONTRAST} > summary")
    _open_by_keyboard(page, f"{CONTRAST} > summary")
    assert page.run(f"return document.querySelector('{CONTRAST} tbody').rows.length") == len(rows)


def test_texts_of_either_direction_keep_to_themselves_and_empty_ones_are_named(page: Browser) -> None:
    _unfold(page)
    page.run("return new Promise((done) => setTimeout(done, 100))")
    texts = page.run(
        "return [...document.querySelectorAll('.texts dd')].map((dd) => [dd.innerText.trim(), "
        "getComputedStyle(dd).unicodeBidi])"
    )
    assert {bidi for _, bidi in texts} == {"plaintext"}
    assert RIGHT_TO_LEFT in {text for text, _ in texts} and "empty" in {text for text, _ in texts}


@pytest.mark.parametrize("width", [375, 1200])
def test_every_drawing_has_a_size_and_stays_inside_the_page(page: Browser, width: int) -> None:
    page.resize(width, 800)
    boxes = page.run(
        "return [...document.querySelectorAll('figure svg[role=img]')].map((svg) => {"
        "const box = svg.getBoundingClientRect(); return [box.width, box.height, box.left, box.right, "
        "svg.getBBox().width, Number(svg.getAttribute('width'))]; })"
    )
    assert len(boxes) == 31
    for shown_width, height, left, right, drawn, declared in boxes:
        assert shown_width > 150 and height > 50
        assert left >= 0 and right <= width
        assert 0.5 * declared < drawn <= declared + 1, "a label sticks out of its drawing"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(page: Browser, scheme: str) -> None:
    page.prefer(scheme)
    colours = page.run(
        "const read = (css) => css.match(/\\d+/g).slice(0, 3).map(Number);"
        "const body = getComputedStyle(document.body), note = getComputedStyle(document.querySelector('.note'));"
        "return [read(body.backgroundColor), read(body.color), read(note.color)]"
    )
    ground, text, soft = (luminance(colour) for colour in colours)
    assert (ground > 0.5) == (scheme == "light")
    assert contrast(ground, text) >= 7
    assert contrast(ground, soft) >= 4.5


def test_every_link_button_and_box_is_reached_by_the_tabulator(page: Browser) -> None:
    out_of_reach = page.run(
        "return [...document.querySelectorAll('a[href], button, summary, .scroll')]"
        ".filter((node) => node.tabIndex !== 0).length"
    )
    assert out_of_reach == 0


def test_a_download_gives_the_numbers(page: Browser) -> None:
    lines = page.run("return decodeURIComponent(document.querySelector('#fig-forest a.csv').href).split('\\n')")
    assert lines[0] == (
        "data:text/csv;charset=utf-8,category,a,b,difference,low,high,level,simultaneous_low,"
        "simultaneous_high,equivalence,seed_spread,p,p_holm,verdict"
    )
    assert len([line for line in lines if line]) == 1 + len(build_study().results.comparison.contrasts)


def test_printing_unfolds_everything_but_items_that_nobody_opened(page: Browser) -> None:
    page.devtools("Page.printToPDF")
    assert page.run("return [...document.querySelectorAll('details:not(#items .part details)')].every((f) => f.open)")
    assert page.run("return [...document.querySelectorAll('#items .part details')].some((fold) => fold.open)") is False


# Widths of A4 less the margins of page.css, in CSS pixels: upright, and lengthwise for the widest tables.
@pytest.mark.parametrize(("width", "sections"), [(688, "#scores, #cost, #training"), (1047, "#tasks, #tests, #power")])
def test_on_paper_no_table_is_cut_off_and_controls_are_gone(page: Browser, width: int, sections: str) -> None:
    page.devtools("Emulation.setEmulatedMedia", media="print")
    try:
        page.resize(width, 1000)
        right = page.run(
            "const tables = arguments[0].split(', ').flatMap((id) => [...document.querySelectorAll(`${id} table`)]);"
            "for (const fold of document.querySelectorAll('details')) fold.open = true;"
            "return Math.max(...tables.map((table) => table.getBoundingClientRect().right))",
            sections,
        )
        assert 300 < right <= width
        assert page.run("return getComputedStyle(document.querySelector('nav')).display") == "none"
        assert page.run("return getComputedStyle(document.querySelector('#tests')).page") == "wide"
    finally:
        page.devtools("Emulation.setEmulatedMedia", media="")


def test_nothing_was_requested_but_the_file(page: Browser) -> None:
    assert page.run("return performance.getEntriesByType('resource').map((entry) => entry.name)") == []
