"""The live page: its command, and the page itself in Chromium, headless."""

import re
import socket
import subprocess
import sys
from pathlib import Path

import pandas as pd
import psutil
import pytest

from simulation import app
from tests.simulation.chromium import ARGUMENTS, BROWSER, LOCAL

ROOT = Path(__file__).parents[2]
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
in_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
PATIENCE = 60_000
"""How long the page may take for anything. [ms]"""
HARMLESS = (
    # Solara's own: its front end starts, and reads one of its templates the old way.
    re.compile("^solara (config|init)|^Starting WebSocket|^will mount widget"),
    re.compile("^Failed to evaluate Vue script"),
)


# The command --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config", "nothing"], "nothing: neither a readable file"),
        (["--config", "smoke", "--set", "market.risk_level=7"], "market.risk_level"),
        (["--config", "smoke", "--set", "start=2031-01-01"], "2031"),
        (["--run", "nowhere"], "nowhere: is no folder"),
    ],
)
def test_bad_input_is_one_line(capsys, arguments, message):
    assert app.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err


@pytest.mark.parametrize(
    "arguments",
    [["--run", "x", "--config", "smoke"], ["--run", "x", "--set", "a=1"], ["--port", "70000"]],
)
def test_options_that_do_not_fit_are_refused(capsys, arguments):
    with pytest.raises(SystemExit, match="2"):
        app.main(arguments)
    assert "error: --" in capsys.readouterr().err


def test_missing_libraries_are_named(capsys, monkeypatch):
    monkeypatch.setattr(app, "find_spec", lambda name: None if name == "solara" else name)
    assert app.main([]) == 2
    assert "pip install 'drcosim[app]' (missing: solara)" in capsys.readouterr().err


def test_a_port_in_use_is_told(capsys, day):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert app.main(["--run", str(day.folder), "--port", str(port)]) == 1
    assert f"--port {port}" in capsys.readouterr().err


# The page -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def serve():
    """Start the command; gives the address that it tells."""
    servers = {}

    def go(*arguments):
        command = [sys.executable, "-m", "simulation.app", "--port", "0", *arguments]
        server = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        said = server.stdout.readline()
        address = re.match(r"http://127\.0\.0\.1:\d+", said)
        assert address, said + server.stdout.read()
        servers[address.group()] = server
        return address.group()

    go.servers = servers
    yield go
    for server in servers.values():
        server.terminate()
    for server in servers.values():
        assert "Traceback" not in server.communicate(timeout=20)[0]


@pytest.fixture(scope="module")
def live(serve, small):
    return serve("--config", str(small / "small.yaml"), "--set", "days=3")


@pytest.fixture(scope="module")
def stored(serve, day):
    return serve("--run", str(day.folder))


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=BROWSER, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture
def visit(browser):
    """Open a page, wait until it is drawn; nothing may be said, or asked of other machines."""
    contexts, said, asked = [], [], []

    def answer(route):
        if route.request.url.startswith(LOCAL):
            route.continue_()
        else:
            asked.append(route.request.url)
            route.abort()

    def go(address, width=1280):
        context = browser.new_context(viewport={"width": width, "height": 900})
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        context.route("**/*", answer)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(f"error {error}"))
        page.goto(address)
        page.locator(".js-plotly-plot .point").first.wait_for()
        return page

    yield go
    for context in contexts:
        context.close()
    assert [text for text in said if not any(harmless.search(text) for harmless in HARMLESS)] == []
    assert asked == []


def fact(page, name):
    return page.locator(".live-facts div", has_text=name).locator("dd")


def step_of(page):
    return int(fact(page, "step").first.inner_text().split()[0])


def press(page, name):
    page.get_by_role("button", name=name, exact=True).click()


def step(page):
    """Press Step, and wait for what it brings."""
    now = step_of(page)
    press(page, "Step")
    page.locator(".live-facts", has_text=re.compile(rf"^step{now + 1} of ")).wait_for()


def cost(page):
    return float(fact(page, "cost so far").inner_text().replace(",", ""))


def cost_until(day, step):
    return round(day.costs.query("step < @step").amount_eur.sum(), 2)


@in_browser
def test_it_steps_plays_pauses_and_takes_a_changed_risk_level(visit, live, day):
    page = visit(live)
    assert step_of(page) == 0
    step(page)
    assert cost(page) == cost_until(day, 1)
    press(page, "▶")
    page.locator(".live-facts", has_text=re.compile("^step(9|1.) of ")).wait_for()
    press(page, "❚❚")
    page.get_by_role("button", name="▶", exact=True).wait_for()
    page.wait_for_timeout(1500)  # the step under way ends
    paused = step_of(page)
    page.wait_for_timeout(1500)
    assert step_of(page) == paused
    assert cost(page) == cost_until(day, paused)
    slider = page.get_by_role("slider").first
    slider.focus()
    slider.press("End")
    page.get_by_text("From the next clearing: risk level 0.3").wait_for()
    page.get_by_text("In force: risk level 0.05").wait_for()
    step(page)
    page.get_by_text("In force: risk level 0.3").wait_for()
    assert page.get_by_text("From the next clearing").count() == 0
    assert cost(page) != cost_until(day, paused + 1)
    press(page, "Reset")
    page.locator(".live-facts", has_text=re.compile("^step0 of ")).wait_for()
    page.get_by_text("In force: risk level 0.3").wait_for()


@in_browser
def test_sessions_are_apart_and_end_with_their_pages(visit, browser, live, serve):
    one, other = visit(live), browser.new_page()  # whose farewell nothing intercepts
    other.goto(live)
    step(one)
    step(one)
    other.get_by_role("button", name="▶", exact=True).click(timeout=PATIENCE)
    other.get_by_role("button", name="❚❚", exact=True).wait_for()
    assert (step_of(one), step_of(other) < 2) == (2, True)
    other.goto("about:blank")
    for _ in range(20):  # the step under way ends; three days would take longer
        used = _seconds(serve.servers[live])
        one.wait_for_timeout(1000)
        if _seconds(serve.servers[live]) - used < 0.1:
            break
    else:
        pytest.fail("the closed page plays on")
    step(one)
    assert step_of(one) == 3


def _seconds(process):
    """Time that a process has computed."""
    times = psutil.Process(process.pid).cpu_times()
    return times.user + times.system


@in_browser
def test_a_peer_is_clicked_or_chosen_by_the_keyboard(visit, live):
    page = visit(live)
    step(page)
    points = page.locator(".js-plotly-plot").first.locator("g.subplot.xy .point")
    hint = page.get_by_text("Its bid, schedule and account appear here.")
    for point in points.all():  # some buses have no peer
        point.click(force=True)
        page.wait_for_timeout(300)
        if not hint.is_visible():
            break
    page.get_by_text("Bid in the clearing of step 1").wait_for()
    shown = page.get_by_label("Peer: click a bus, or choose here").input_value()
    assert shown.startswith("west-")
    assert page.locator("table.live", has_text="Bid in").locator("td", has_text="load").count() > 0
    assert page.get_by_role("img", name=f"Schedule of {shown}").is_visible()
    assert page.locator("table.live", has_text="Account so far").is_visible()
    choice = page.get_by_label("Peer: click a bus, or choose here")
    page.get_by_role("button", name="clear icon").click()
    hint.wait_for()
    choice.focus()
    page.keyboard.type("east-30")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.get_by_role("img", name="Schedule of east-30").wait_for()
    assert page.get_by_text("bus 30 of east;").is_visible()


@in_browser
def test_a_finished_run_is_gone_through(visit, stored, day):
    page = visit(stored)
    assert step_of(page) == 1
    step(page)
    assert cost(page) == cost_until(day, 2)
    slider = page.get_by_role("slider").first
    slider.focus()
    slider.press("End")
    page.locator(".live-facts", has_text=re.compile("^step24 of 24")).wait_for()
    assert cost(page) == cost_until(day, 24)
    slider.press("ArrowLeft")
    page.locator(".live-facts", has_text=re.compile("^step23 of 24")).wait_for()
    step(page)
    press(page, "Reset")
    page.locator(".live-facts", has_text=re.compile("^step1 of 24")).wait_for()
    voltages = day.bus_voltage.query("step == 0").groupby("network").vm_pu
    low, high = voltages.min(), voltages.max()
    for network in low.index:
        row = page.locator("table.live", has_text="Networks in this step").locator(
            "tr", has_text=network
        )
        assert f"{low[network]:.3f} to {high[network]:.3f}" in row.inner_text()


@in_browser
def test_on_a_phone_nothing_is_cut_off(visit, stored):
    page = visit(stored, width=390)
    step(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.get_by_role("button", name="Step", exact=True).is_visible()
    assert page.get_by_role("img", name="Maps of the networks").is_visible()


def test_the_reference_tells_steps_apart(day):
    """The costs compared above differ from step to step."""
    assert pd.Series([cost_until(day, k) for k in range(25)]).is_unique
