"""The running experiment on the page of a server, in headless Chromium: drawn, kept up to date, wide and narrow."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from ab_folder import CLICKED, LATENCY, begun, design, run_traffic
from e2e.report.browser import Browser, missing_browser, open_browser
from poolwise.experiments import open_log
from poolwise.serving import ServedExperiment
from served_page import HAZARD, Served, running, served_in

pytestmark = pytest.mark.skipif(bool(missing_browser()), reason=missing_browser())

READY = "document.querySelectorAll('#experiment-blocks figure svg').length > 0"
SHOWN = "return document.getElementById('experiment-blocks').innerText"
TAB = ("Tab", 9)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served_in(tmp_path_factory.mktemp("page")) as found:
        yield found


@pytest.fixture(scope="module")
def experiment(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedExperiment]:
    """Users of ten days, with a guard; the name of a model is hostile."""
    arms = [{"name": "A", "share": 50, "model": HAZARD}, {"name": "B", "share": 50, "model": "runs/b"}]
    folder = begun(tmp_path_factory.mktemp("x") / "ab", design(arms=arms, metrics=[CLICKED, LATENCY]))
    run_traffic(folder, {"A": 0.3, "B": 0.45})
    with open_log(folder) as log:
        yield ServedExperiment(log, dict(zip("AB", served.models.values(), strict=True)))


@pytest.fixture(scope="module")
def address(served: Served, experiment: ServedExperiment) -> Iterator[str]:
    with running(served, experiment) as url:
        yield url


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


@pytest.fixture
def page(chromium: Browser, address: str) -> Browser:
    chromium.resize(1280, 900)
    chromium.prefer("light")
    chromium.open(address)
    chromium.wait_for(READY)
    return chromium


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 375, 1280])
def test_it_fits_the_page_and_is_drawn_in_its_colours(page: Browser, address: str, width: int, scheme: str) -> None:
    page.resize(width, 800)
    page.prefer(scheme)
    assert page.run("return document.documentElement.scrollWidth") <= width
    fills = page.run(
        "return [...document.querySelectorAll('#experiment .sequence')].map((path) => getComputedStyle(path).fill)"
    )
    assert len(fills) == 2 and "none" not in fills
    labels = page.run(
        "return [...document.querySelectorAll('#experiment #tab-metrics tbody tr:first-child td')]"
        ".map((cell) => getComputedStyle(cell, '::before').content)"
    )
    assert ('"Interval"' in labels) == (width < 576)
    asked = page.run("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert asked and all(name.startswith(address) for name in asked)
    assert page.console() == []


def test_it_says_what_is_decided_and_markup_in_names_is_shown(page: Browser) -> None:
    shown = page.run(SHOWN)
    assert "B against A: superior" in shown and "Split: as planned" in shown and HAZARD in shown
    assert page.run("return document.querySelectorAll('#experiment script, #experiment img').length") == 0
    assert page.run("return document.title") == "poolwise: compare embedding models"
    assert page.run("return document.getElementById('to-experiment').hidden") is False
    assert page.console() == []


def test_new_users_appear_and_what_the_reader_opened_stays(page: Browser, experiment: ServedExperiment) -> None:
    page.run(
        "document.querySelector('#experiment details').open = true;"
        "document.querySelector('#experiment [data-key=metrics-1]').dataset.kept = 'yes';"
        "document.querySelector('#experiment [data-key=arms-0] .scroll').focus()"
    )
    before = sum(arm.users for arm in experiment._state[1].arms)
    experiment.log.expose("a-new-user", experiment.log.assign("a-new-user").name, time=time.time())
    experiment._state = None
    # Switched off, it stays as it is; switched on, it is asked for at once.
    page.run("const live = document.getElementById('experiment-live'); live.click(); live.click()")
    page.wait_for(f"document.getElementById('experiment-blocks').innerText.includes('{before + 1:,}')")
    assert page.run("return document.querySelector('#experiment details').open") is True
    assert page.run("return document.activeElement.closest('[data-key]')?.dataset.key") == "arms-0"
    keys = page.run("return [...document.getElementById('experiment-blocks').children].map((n) => n.dataset.key)")
    assert keys == ["head", "verdict-0", "metrics-0", "metrics-1", "metrics-2", "arms-0", "method"]
    assert page.console() == []


def test_the_keyboard_reaches_it_and_every_control_has_a_name(page: Browser) -> None:
    page.run("document.getElementById('to-experiment').focus()")
    page.press("Enter", 13, "\r")
    seen = []
    for _ in range(8):
        page.press(*TAB)
        seen.append(page.run("return document.activeElement.id || document.activeElement.className"))
    assert seen[0] == "experiment-live" and "csv" in seen and "scroll" in seen
    tree = page.devtools("Accessibility.getFullAXTree")["nodes"]
    named = {"button", "checkbox", "link", "region", "image", "table"}
    found = [node for node in tree if not node["ignored"] and node["role"]["value"] in named]
    assert [node["role"]["value"] for node in found if not node.get("name", {}).get("value")] == []
    assert {"checkbox", "link", "table"} <= {node["role"]["value"] for node in found}


def test_a_server_that_has_gone_is_told_of(chromium: Browser, served: Served, experiment: ServedExperiment) -> None:
    with running(served, experiment) as url:
        chromium.open(url)
        chromium.wait_for(READY)
    chromium.run("const live = document.getElementById('experiment-live'); live.click(); live.click()")
    chromium.wait_for("document.getElementById('experiment-error').textContent.includes('does not answer')")
    assert chromium.run("return document.getElementById('experiment').hasAttribute('data-stale')") is True
    chromium.console()
