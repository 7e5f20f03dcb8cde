"""The report in a real browser: Chromium, headless, at the widths of a desk and of a phone."""

import os
import shutil

import pandas as pd
import pytest

from simulation.report import write_report
from tests.simulation.experiments import write_experiment

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")

OVERFLOWING = """() => [...document.querySelectorAll("body *")]
    .filter((e) => e.getBoundingClientRect().right > window.innerWidth + 1)
    .filter((e) => !e.closest(".scroll") && !e.closest("svg"))
    .map((e) => e.tagName + "." + e.className)"""


@pytest.fixture(scope="module")
def browser():
    # Where there is no sandbox, as for root in a container, Chromium does not start with one.
    sandbox = [] if getattr(os, "geteuid", lambda: 1)() else ["--no-sandbox"]
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=BROWSER, args=sandbox)
        yield started
        started.close()


@pytest.fixture(scope="module")
def pages(day, tmp_path_factory):
    """The report of a run, and that of an experiment."""
    folder = tmp_path_factory.mktemp("pages")
    experiment = write_experiment(folder / "experiment")
    return {
        "run": write_report(day.folder, output=folder / "run.html"),
        "experiment": write_report(experiment, output=folder / "experiment.html"),
    }


@pytest.fixture
def visit(browser):
    """Open a file at some width; gives the page, what the console said, and foreign requests."""
    contexts = []

    def go(path, width):
        context = browser.new_context(viewport={"width": width, "height": 900})
        contexts.append(context)
        said, asked = [], []

        def answer(route):
            if route.request.url.startswith(("file:", "data:", "blob:")):
                route.continue_()
            else:
                asked.append(route.request.url)
                route.abort()

        context.route("**/*", answer)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(path.as_uri())
        return page, said, asked

    yield go
    for context in contexts:
        context.close()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("which", ["run", "experiment"])
def test_all_is_drawn_without_error_request_or_overflow(visit, pages, which, width):
    page, said, asked = visit(pages[which], width)
    page.evaluate("drawAll()")
    n_drawings = page.locator(".drawing").count()
    assert n_drawings > 2
    assert page.locator(".drawing .main-svg").first.is_visible()
    assert page.locator(".drawing.js-plotly-plot").count() == n_drawings
    for section in page.locator("section").all():
        assert section.is_visible()
        assert section.locator("h2").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(OVERFLOWING) == []
    assert said == []
    assert asked == []


def test_figures_are_drawn_when_they_come_into_view(visit, pages):
    page, _, _ = visit(pages["run"], 1280)
    page.locator("#maps-1 .main-svg").first.wait_for()
    last = page.locator(".drawing").last
    assert last.locator(".main-svg").count() == 0
    last.scroll_into_view_if_needed()
    last.locator(".main-svg").first.wait_for()


def test_a_table_is_sorted_by_its_headings(visit, pages, day):
    page, _, _ = visit(pages["run"], 1280)
    table = page.locator("table", has=page.get_by_role("button", name="gain from trade [EUR]"))
    head = table.locator("th", has_text="gain from trade")
    gains = sorted(day.peer_outcomes.gain_from_trade_eur)
    for direction, expected in (("ascending", gains), ("descending", gains[::-1])):
        head.get_by_role("button").click()
        assert head.get_attribute("aria-sort") == direction
        cells = table.locator("tbody tr td:nth-child(5)").evaluate_all(
            "cells => cells.map((cell) => Number(cell.dataset.order))"
        )
        assert cells == pytest.approx(expected)
    table.locator("th", has_text="peer").first.get_by_role("button").press("Enter")
    assert head.get_attribute("aria-sort") is None
    first = table.locator("tbody tr td").first.inner_text()
    assert first == sorted(day.peer_outcomes.peer_id, key=_natural)[0]


def _natural(name):
    network, _, bus = name.rpartition("-")
    return network, int(bus)


def test_print_draws_everything(visit, pages):
    page, said, _ = visit(pages["run"], 1280)
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    page.wait_for_function(
        "document.querySelectorAll('.drawing').length"
        " === document.querySelectorAll('.drawing.js-plotly-plot').length"
    )
    assert not page.locator("nav").is_visible()
    assert page.pdf()[:4] == b"%PDF"
    assert said == []


def test_names_cannot_run_anything(visit, day, tmp_path):
    folder = shutil.copytree(day.folder, tmp_path / "run")
    evil = "<img src=x onerror=console.log(1)><script>console.log(2)</script>"
    for name in ("peers", "dispatch", "peer_outcomes"):
        table = pd.read_parquet(folder / f"{name}.parquet")
        table["peer_id"] = table.peer_id.where(table.peer_id != table.peer_id[0], evil)
        table.to_parquet(folder / f"{name}.parquet", index=False)
    page, said, asked = visit(write_report(folder), 1280)
    page.evaluate("drawAll()")
    assert page.get_by_text(evil).count() > 0
    assert said == []
    assert asked == []
