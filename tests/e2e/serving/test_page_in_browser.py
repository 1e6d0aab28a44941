"""The page of ``poolwise serve`` as its user sees it: in headless Chromium, wide and narrow, light and dark."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import tiny_models
from e2e.report.browser import Browser, missing_browser, open_browser
from e2e.report.contrast import contrast, luminance
from served_page import DOCUMENTS, HAZARD, Served, running, served_in

pytestmark = pytest.mark.skipif(bool(missing_browser()), reason=missing_browser())

KEY = "secret-key"
TAB, ENTER, DOWN, RIGHT, ESCAPE = ("Tab", 9), ("Enter", 13, "\r"), ("ArrowDown", 40), ("ArrowRight", 39), ("Escape", 27)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served_in(tmp_path_factory.mktemp("page")) as found:
        yield found


@pytest.fixture(scope="module")
def address(served: Served) -> Iterator[str]:
    with running(served) as url:
        yield url


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


READY = "document.querySelectorAll('.matrix').length === 2 && document.querySelectorAll('.heat').length === 2"


@pytest.fixture
def page(chromium: Browser, address: str) -> Browser:
    chromium.resize(1280, 900)
    chromium.prefer("light")
    chromium.open(address)
    chromium.wait_for(READY)
    return chromium


def write(page: Browser, field: str, text: str) -> None:
    """Replace what a field holds, as typing does."""
    page.run("document.getElementById(arguments[0]).focus(); document.getElementById(arguments[0]).select()", field)
    page.type(text)


def search(page: Browser, query: str) -> None:
    write(page, "query", query)
    page.press(*ENTER)
    page.wait_for("document.querySelectorAll('.hits').length === 2")


def test_the_page_starts_with_examples_compared(page: Browser) -> None:
    cells = page.run(
        "return [...document.querySelectorAll('.matrix')].map((t) => t.querySelectorAll('td[data-i]').length)"
    )
    assert cells == [64, 64]
    assert "8 texts read in" in page.run("return document.getElementById('similarity-status').textContent")
    assert page.run("return document.querySelectorAll('#pairs li').length") == 5
    assert page.run("return document.querySelectorAll('.layers li').length") == tiny_models.NUM_LAYERS
    assert page.console() == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 375, 768, 1280])
def test_nothing_scrolls_sideways_and_nothing_is_asked_of_another_host(
    page: Browser, address: str, width: int, scheme: str
) -> None:
    page.resize(width, 800)
    page.prefer(scheme)
    write(page, "texts", "\n".join(["word" * 40, HAZARD, *DOCUMENTS]))
    page.wait_for("document.querySelectorAll('.matrix td[data-i]').length === 2 * 100")
    search(page, "dog " + "x" * 200)
    assert page.run("return document.documentElement.scrollWidth") <= width
    wide = page.run(
        "return [...document.querySelectorAll('main *')].filter((node) => "
        "node.getBoundingClientRect().right > innerWidth + 1 && !node.closest('.unseen')).map((node) => node.outerHTML)"
    )
    assert wide == []
    asked = page.run("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert asked and all(name.startswith(address) for name in asked)
    assert page.console() == []


def test_markup_in_texts_and_names_is_shown_and_not_run(page: Browser) -> None:
    write(page, "texts", f"{HAZARD}\na dog runs\n{HAZARD} again")
    page.wait_for("document.querySelectorAll('.matrix td[data-i]').length === 2 * 9")
    write(page, "text", HAZARD)
    page.wait_for("document.querySelector('.heat').textContent.includes('script')")
    search(page, HAZARD)
    shown = page.run("return document.getElementById('main').innerText")
    assert HAZARD in shown and f"docs layers {HAZARD}" in shown
    assert page.run("return document.querySelectorAll('main script, main img').length") == 0
    assert page.run("return document.title") == "poolwise: compare embedding models"
    assert page.console() == []


def test_script_within_the_page_would_be_refused(page: Browser) -> None:
    page.run(
        "const s = document.createElement('script'); s.textContent = 'document.title = 1'; document.body.append(s)"
    )
    assert page.run("return document.title") != "1"
    assert "Content Security Policy" in " ".join(page.console())


def test_typing_compares_again_and_mistakes_are_told_beside_the_field(page: Browser) -> None:
    write(page, "texts", "only one")
    page.wait_for("document.getElementById('texts-error').textContent")
    told, is_invalid = page.run(
        "const field = document.getElementById('texts');"
        "return [document.getElementById('texts-error').textContent, field.getAttribute('aria-invalid')]"
    )
    assert told == "Write at least two texts, each on a line of its own." and is_invalid == "true"
    write(page, "texts", "\n".join(["dog"] * 41))
    page.wait_for("document.getElementById('texts-error').textContent.includes('41 texts')")
    write(page, "texts", "a dog\n\n  \nstocks fell\n")
    page.wait_for("document.querySelectorAll('.matrix td[data-i]').length === 2 * 4")
    assert page.run("return document.getElementById('texts-error').textContent") == ""
    assert page.run("return document.getElementById('texts').getAttribute('aria-invalid')") is None
    assert page.run("return document.getElementById('texts-help').textContent") == "2 texts of at most 40"
    write(page, "text", " ")
    page.wait_for("document.getElementById('text-error').textContent === 'Write a text.'")


def test_both_matrices_show_the_same_numbers_as_the_server_on_one_scale(page: Browser) -> None:
    write(page, "texts", "a dog runs\nstocks fell\nthe old man sings")
    page.wait_for("document.querySelectorAll('.matrix td[data-i]').length === 2 * 9")
    found = page.run(
        "const names = ['a', 'b'].map((side) => document.getElementById(`model-${side}`).value);"
        "const body = {models: names, texts: document.getElementById('texts').value.split('\\n')};"
        "return fetch('/page/similarity', {method: 'POST', headers: {'Content-Type': 'application/json'},"
        "body: JSON.stringify(body)}).then((answer) => answer.json())"
        ".then((found) => found.models.map((model) => model.similarity))"
    )
    cells = page.run(
        "return [...document.querySelectorAll('.matrix')].map((table) => [...table.querySelectorAll('td[data-i]')]"
        ".map((cell) => [Number(cell.dataset.i), Number(cell.dataset.j), cell.textContent, "
        "parseFloat(cell.style.getPropertyValue('--v'))]))"
    )
    values = [value for matrix in found for i, row in enumerate(matrix) for j, value in enumerate(row) if i != j]
    low, high = min(values), max(values)
    for matrix, shown in zip(found, cells, strict=True):
        for i, j, text, shade in shown:
            if i != j:
                assert float(text) == pytest.approx(matrix[i][j], abs=0.0051)
                assert shade == pytest.approx(100 * (matrix[i][j] - low) / (high - low), abs=0.51)
    ramp = page.run("return [...document.querySelectorAll('.ramp span')].map((node) => Number(node.textContent))")
    assert ramp == pytest.approx([low, high], abs=0.0051)


def test_the_keyboard_leads_through_the_page(page: Browser) -> None:
    focused = "const node = document.activeElement; return node.id || node.className || node.tagName"
    page.run("document.activeElement.blur(); window.getSelection().removeAllRanges()")
    seen = []
    for _ in range(22):
        page.press(*TAB)
        seen.append(page.run(focused))
    wanted = ["skip", "report", "model-a", "swap", "model-b", "prompt", "texts"]
    # After the last stop the first one comes again.
    assert [name for name in dict.fromkeys(seen) if name in wanted] == wanted
    assert {"text", "query", "index-a", "index-b"} <= set(seen)
    # A matrix is one stop; the arrow keys move within it, and the other matrix follows.
    page.run("document.querySelector('.matrix td[tabindex=\"0\"]').focus()")
    page.press(*DOWN)
    page.press(*RIGHT)
    place = page.run("const cell = document.activeElement; return [cell.dataset.i, cell.dataset.j]")
    assert place == ["2", "1"]
    lit = page.run("return [...document.querySelectorAll('td.lit')].map((cell) => cell.dataset.i + cell.dataset.j)")
    assert lit == ["21", "21"]
    words = page.run("return document.getElementById('readout').innerText")
    assert "Nobody is playing the guitar." in words and "of 28" in words


def test_every_control_has_a_name(page: Browser) -> None:
    search(page, "dog")
    tree = page.devtools("Accessibility.getFullAXTree")["nodes"]
    named = {"button", "textbox", "searchbox", "combobox", "radio", "grid", "link", "dialog", "region"}
    nameless = [
        node["role"]["value"]
        for node in tree
        if not node["ignored"] and node["role"]["value"] in named and not node.get("name", {}).get("value")
    ]
    assert nameless == []
    assert len([node for node in tree if not node["ignored"] and node["role"]["value"] in named]) > 10


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_every_shade(page: Browser, scheme: str) -> None:
    page.prefer(scheme)
    page.run("for (const cell of document.querySelectorAll('.token')) cell.style.transition = 'none'; return 1")
    colours = page.run(
        "const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});"
        "const read = (css) => { canvas.fillStyle = css; canvas.fillRect(0, 0, 1, 1);"
        "return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3); };"
        "return [...document.querySelectorAll('.matrix td.shade, .token')].map((node) => {"
        "const style = getComputedStyle(node); return [read(style.backgroundColor), read(style.color)]; })"
    )
    assert len(colours) > 100
    contrasts = [contrast(luminance(ground), luminance(text)) for ground, text in colours]
    assert min(contrasts) >= 4.4
    soft = page.run(
        "const read = (css) => css.match(/[\\d.]+/g).slice(0, 3).map(Number);"
        "return [read(getComputedStyle(document.body).backgroundColor), "
        "...[...document.querySelectorAll('.note, .help, .told, .status, .error, .ranks, .design')]"
        ".map((node) => read(getComputedStyle(node).color))]"
    )
    assert min(contrast(luminance(soft[0]), luminance(one)) for one in soft[1:]) >= 4.5


def test_lines_join_the_places_of_the_same_row(page: Browser) -> None:
    search(page, "the old man")
    ids = page.run(
        "return [...document.querySelectorAll('.hits')]"
        ".map((list) => [...list.children].map((item) => item.dataset.id))"
    )
    paths = page.run("return [...document.querySelectorAll('.moves path')].map((path) => path.getAttribute('class'))")
    places = [{name: place for place, name in enumerate(column)} for column in ids]
    wanted = ["same" if a == places[1][i] else "up" if places[1][i] < a else "down" for i, a in places[0].items()]
    assert paths == wanted
    chips = page.run("return [...document.querySelectorAll('.hits:last-of-type .chip')].map((chip) => chip.innerText)")
    assert any("from" in chip for chip in chips) == (set(wanted) != {"same"})
    page.resize(375, 800)
    assert page.run("return getComputedStyle(document.querySelector('.moves')).display") == "none"


def test_swapping_the_models_swaps_every_part(page: Browser) -> None:
    before = page.run("return [...document.querySelectorAll('#matrices h3')].map((node) => node.textContent)")
    page.run("document.getElementById('swap').click()")
    page.wait_for(f"document.querySelector('#matrices h3').textContent !== {before[0]!r}")
    page.wait_for(f"document.querySelector('#heats h3').textContent !== {before[0]!r}")
    after = page.run("return [...document.querySelectorAll('#heats h3')].map((node) => node.textContent)")
    assert after == before[::-1]


def test_motion_is_off_for_those_who_want_none(page: Browser) -> None:
    page.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}])
    moving = page.run(
        "return [...document.querySelectorAll('*')].filter((node) => parseFloat(getComputedStyle(node)"
        ".transitionDuration) > 0 || getComputedStyle(node).animationName !== 'none').length"
    )
    assert moving == 0
    assert page.run("return getComputedStyle(document.documentElement).scrollBehavior") == "auto"


def test_with_keys_the_page_asks_and_keeps_the_key_in_memory_only(chromium: Browser, served: Served) -> None:
    with running(served, keys=(KEY,)) as url:
        chromium.prefer("light")
        chromium.open(url)
        chromium.wait_for("document.getElementById('key-dialog').open")
        assert chromium.run("return document.activeElement.id") == "key"
        chromium.type("wrong")
        chromium.press(*ENTER)
        chromium.wait_for("document.getElementById('key-error').textContent.includes('does not know')")
        chromium.type(KEY)
        chromium.press(*ENTER)
        chromium.wait_for(READY)
        kept = chromium.run(
            "return [document.cookie, localStorage.length, sessionStorage.length, location.href, "
            "document.documentElement.outerHTML.includes(arguments[0]), document.getElementById('key').value]",
            KEY,
        )
        assert kept == ["", 0, 0, f"{url}/", False, ""]
        # Refused at first, and nothing else.
        assert {"401" in line for line in chromium.console()} == {True}
        chromium.run("location.reload()")
        chromium.wait_for("document.getElementById('key-dialog')?.open")
        chromium.press(*ESCAPE)
        chromium.wait_for("!document.getElementById('problem').hidden")
        assert "needs an API key" in chromium.run("return document.getElementById('problem').innerText")
        chromium.console()


def test_the_report_opens_from_the_page_where_it_can_do_nothing_to_it(chromium: Browser, served: Served) -> None:
    with running(served, keys=(KEY,)) as url:
        chromium.open(url)
        chromium.wait_for("document.getElementById('key-dialog').open")
        chromium.type(KEY)
        chromium.press(*ENTER)
        chromium.wait_for(READY)
        opened = chromium.run(
            "window.open = () => null; document.getElementById('report').click(); return location.href"
        )
        assert opened == f"{url}/"
        chromium.wait_for("document.title === 'the report'")
        assert chromium.run("return [location.pathname, self.origin]") == ["/page/report", "null"]
        chromium.console()


def test_a_server_that_has_gone_is_told_of(chromium: Browser, served: Served) -> None:
    with running(served) as url:
        chromium.open(url)
        chromium.wait_for(READY)
    write(chromium, "texts", "a dog\na cat")
    chromium.wait_for("document.getElementById('texts-error').textContent.includes('does not answer')")
    chromium.console()
