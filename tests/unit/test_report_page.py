"""The page in a real browser: it draws, it fits, it fetches nothing, and it shows what was recorded."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from analysis.compare import compare
from analysis.views import cycles, html
from probes import recording
from tests import synthetic
from tests.unit.test_costly import SEEN, Row, costly
from tests.unit.test_views import NASTY

CHROME = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome", "chromium-browser"))), None)
pytestmark = pytest.mark.skipif(CHROME is None, reason="No chromium or chrome is installed to look at the page with.")

OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-component-update",
    "--disable-background-networking", "--disable-sync", "--disable-dev-shm-usage", "--remote-debugging-pipe",
)  # fmt: skip
LIMIT_S = 60


class Browser:
    """One page in headless Chrome, over DevTools' pipe: JSON messages that end with a zero byte, on its fds 3 and 4."""

    def __init__(self, profile: Path) -> None:
        theirs_in, self._to = os.pipe()
        self._from, theirs_out = os.pipe()
        wires = f'exec 3<&{theirs_in} 4>&{theirs_out}; exec "$@"'
        self._process = subprocess.Popen(
            ["bash", "-c", wires, "chrome", str(CHROME), *OPTIONS, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(theirs_in, theirs_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        os.set_blocking(self._from, False)
        self._rest, self._numbers, self.events = b"", itertools.count(1), list[dict[str, Any]]()
        self._session: dict[str, str] = {}
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self._session = {"sessionId": self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        for domain in ("Page", "Runtime", "Log", "Network"):
            self(f"{domain}.enable")

    def __call__(self, method: str, **params: object) -> dict[str, Any]:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params, **self._session}
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            message = self._next()
            if message.get("id") == number:
                assert "error" not in message, message
                return dict(message["result"])
            self.events.append(message)

    def _next(self) -> dict[str, Any]:
        end = time.monotonic() + LIMIT_S
        while b"\0" not in self._rest:
            assert time.monotonic() < end, "the browser does not answer"
            try:
                part = os.read(self._from, 1 << 20)
                assert part, "the browser has ended"
                self._rest += part
            except BlockingIOError:
                time.sleep(0.01)
        message, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(message))

    def open(self, page: Path, width: int = 1280, dark: bool = False) -> None:
        self.size(width)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self("Emulation.setEmulatedMedia", features=[scheme])
        self.events.clear()
        self("Page.navigate", url=page.as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())

    def size(self, width: int) -> None:
        self("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)

    def run(self, code: str) -> Any:
        """The value of an expression on the page."""
        result = self("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
        os.close(self._to)
        os.close(self._from)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


def large() -> list[synthetic.Phase]:
    """The synthetic tour with enough functions that something is folded, and a name that is out to do harm."""
    phases = synthetic.tour()
    for number in range(400):
        phases[1].work["openat", "vfs", f"function_{number:03}_with_a_long_name"] = 1 + number % 150
    phases[0].work["getppid", "vfs", NASTY] = 25
    return phases


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, recording.Recording]]:
    root = tmp_path_factory.mktemp("page")
    synthetic.record(root, "linux", large())
    synthetic.record(root, "linux+audit=1", synthetic.audit(large()))
    synthetic.record(root, "linux+init_on_alloc=0", synthetic.no_clearing(large()))
    recordings = [recording.read(place) for place in recording.find(root)]
    path = root / "report.html"
    path.write_text(html.render(compare(recordings, "linux"), recordings), encoding="utf-8")
    return path, {one.spec: one for one in recordings}


def chart_texts(browser: Browser) -> list[list[str]]:
    """What is written in the boxes of each chart."""
    texts: list[list[str]] = browser.run(
        "[...document.querySelectorAll('.chart')].map(chart => [...chart.querySelectorAll('.slicetext')]"
        ".map(text => text.dataset.unformatted || ''))"
    )
    return texts


def click(browser: Browser, chart: int, text: str) -> None:
    """A click with the mouse on a box of a chart."""
    x, y = browser.run(
        f"(() => {{ const box = [...document.querySelectorAll('#icicle-{chart} .slice')].find(slice => "
        f"slice.textContent.startsWith({json.dumps(text)})); box.scrollIntoView({{block: 'center'}}); "
        "const at = box.getBoundingClientRect(); return [at.x + at.width / 2, at.y + at.height / 2]; })()"
    )
    for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
        browser("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)


def levels(browser: Browser) -> list[str]:
    """Where in the tree each chart is."""
    found: list[str] = browser.run("[...document.querySelectorAll('.chart')].map(chart => chart._fullData[0].level)")
    return found


def test_charts_are_drawn_and_nothing_is_fetched_or_wrong(
    browser: Browser, page: tuple[Path, dict[str, recording.Recording]]
) -> None:
    browser.open(page[0])
    slices = "[...document.querySelectorAll('.chart')].map(chart => chart.querySelectorAll('path.surface').length)"
    drawn = browser.run(slices)
    assert len(drawn) == 3
    assert min(drawn) > 20
    browser.run("document.getElementById('phase').value = '1';"
                "document.getElementById('phase').dispatchEvent(new Event('change'))")  # fmt: skip
    assert min(browser.run(slices)) > 100
    fetched = [event["params"]["request"]["url"] for event in browser.events
               if event["method"] == "Network.requestWillBeSent"]  # fmt: skip
    assert fetched == [page[0].as_uri()]
    said = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
    assert [event for event in browser.events if event["method"] in said] == []


def test_a_phase_shows_what_was_recorded(browser: Browser, page: tuple[Path, dict[str, recording.Recording]]) -> None:
    browser.open(page[0])
    guests = browser.run("[...document.querySelectorAll('#charts ~ h3')].map(head => head.textContent)")
    for guest, texts in zip(guests, chart_texts(browser), strict=True):
        for phase in page[1][guest].phases.itertuples():
            shown = f"{phase.instructions / phase.ops:,.0f}"
            assert f"{phase.name}  {shown}" in texts
    assert sorted(guests) == sorted(page[1])


def test_a_click_opens_the_same_place_in_all_charts(
    browser: Browser, page: tuple[Path, dict[str, recording.Recording]]
) -> None:
    browser.open(page[0])
    click(browser, 1, "null-call")
    assert levels(browser) == ["all/0"] * 3
    assert browser.run("document.getElementById('phase').value") == "0"
    assert "__audit_syscall_exit  90" in chart_texts(browser)[1]
    # One scale: the chart with more instructions is higher by as much.
    heights = browser.run("[...document.querySelectorAll('.chart')].map(chart => chart.offsetHeight - 28)")
    assert heights[0] / heights[1] == pytest.approx(166 / 386, abs=0.01)
    click(browser, 0, "getppid")
    assert levels(browser) == ["all/0/getppid"] * 3
    # What only one guest has leaves the others at what is above it.
    click(browser, 1, "security")
    assert levels(browser) == ["all/0/getppid", "all/0/getppid/security", "all/0/getppid"]
    browser.run("document.getElementById('cost').value = 'rep_bytes';"
                "document.getElementById('cost').dispatchEvent(new Event('change'));"
                "document.querySelector('button[data-phase=\"2\"]:not([data-beside])').click()")  # fmt: skip
    assert levels(browser)[0] == "all/2"
    assert "alert(1)" not in str(browser.events)


def beside(browser: Browser, column: int) -> list[list[str]]:
    """Text and title of the boxes in a column of the first figure of two guests side by side."""
    left = ("0%", "20%", "33%", "66.5%")[column]
    boxes: list[list[str]] = browser.run(
        "[...document.querySelectorAll('#difference-0 .box:not(.head)')].filter(box => box.style.left === "
        f"{json.dumps(left)}).map(box => [box.textContent, box.title])"
    )
    return boxes


def test_two_guests_side_by_side(browser: Browser, page: tuple[Path, dict[str, recording.Recording]]) -> None:
    browser.open(page[0])
    heads = "[...document.querySelectorAll('#difference-0 .head')].map(head => head.textContent)"
    linux, audit = (page[1][spec].phases["instructions"].sum() for spec in ("linux", "linux+audit=1"))
    assert browser.run(heads)[2:] == [f"linux: {linux / 1e6:.3g} M", f"linux+audit=1: {audit / 1e6:.3g} M"]
    browser.run('document.querySelector(\'button[data-beside="0"][data-phase="0"]\').click()')
    assert browser.run(heads) == ["operation", "layer", "linux: 166", "linux+audit=1: 386"]
    assert [text for text, _ in beside(browser, 0)] == ["getppid  161 \u2192 381", ""]
    assert next(text for text, _ in beside(browser, 1)) == "security"
    # What one side does not have leaves a gap there; names are text, whatever is in them.
    assert not any("__audit_syscall_exit" in title for _, title in beside(browser, 2))
    says = "__audit_syscall_exit: linux 0, linux+audit=1 90 instructions per op"
    assert ["__audit_syscall_exit  90", says] in beside(browser, 3)
    assert any(title.startswith("<script>alert(1)") for _, title in beside(browser, 2))
    heights = browser.run("[...document.querySelectorAll('#difference-0 .box:not(.head)')].filter(box => box.style.left"
                          " === '20%').map(box => parseFloat(box.style.height))")  # fmt: skip
    assert sum(heights) == pytest.approx(800, abs=3)
    assert heights[0] / sum(heights) == pytest.approx(220 / 386, abs=0.01)
    browser.run("document.querySelector('#difference-0 button.box').click()")
    assert browser.run(heads)[0] == "\u2190 all operations"
    assert [text for text, _ in beside(browser, 0)] == ["getppid  161 \u2192 381"]
    browser.run("document.querySelector('#difference-0 button.head').click()")
    assert len(beside(browser, 0)) == 2
    browser.run("document.querySelector('[data-side=\"0\"] .counted').value = 'rep_bytes';"
                "document.querySelector('[data-side=\"0\"] .counted').dispatchEvent(new Event('change'))")  # fmt: skip
    assert browser.run("document.querySelector('#difference-0 p').textContent") == "Nothing was counted here."
    assert [event for event in browser.events if event["method"] == "Runtime.exceptionThrown"] == []


def test_modelled_cycles_stand_in_a_table_and_with_each_finding(browser: Browser, tmp_path: Path) -> None:
    slower = synthetic.tour()
    slower[2].work["page-fault", "mm-fault", "handle_mm_fault"] += 100
    rows: list[Row] = [(2, "page-fault", "mm-fault", "cr3", 509)]
    synthetic.record(tmp_path, "linux", synthetic.tour(), (0,), costly(rows), probe=SEEN)
    synthetic.record(tmp_path, "bsd", slower, (0,), costly([]), probe=SEEN)
    recordings = [recording.read(place) for place in recording.find(tmp_path)]
    comparison = compare(recordings, "linux")
    path = tmp_path / "report.html"
    path.write_text(html.render(comparison, recordings), encoding="utf-8")
    browser.open(path)
    table = "[...document.querySelectorAll('table')].find(one => one.caption.textContent.startsWith('Modelled cycles'))"
    shown = browser.run(f"[...{table}.tBodies[0].rows].map(row => [...row.cells].map(cell => cell.innerText.trim()))")
    assert shown == [list(row) for row in cycles.rows(comparison.pairs[0].modelled)]
    assert [row[0] for row in shown] == [one.name for one in comparison.prices]
    assert "nothing was timed" in browser.run(f"{table}.caption.innerText")
    # A write of CR3 less and a hundred instructions more: the sign is the price's, in the list and in the phase.
    for place in ("#short ~ ol li", "details td:last-child"):
        (text,) = browser.run(f"[...document.querySelectorAll('{place}')].map(one => one.innerText)")
        assert cycles.each(comparison.pairs[0].findings[0].modelled).split(" ")[0] in text
        assert "depends on prices (most on that of cr3)" in text
    for width in (1280, 400):
        browser.size(width)
        assert browser.run("document.documentElement.scrollWidth") <= width
    assert [event for event in browser.events if event["method"] == "Runtime.exceptionThrown"] == []


@pytest.mark.parametrize("dark", [False, True])
def test_the_page_fits_any_width_and_can_be_read(browser: Browser, page: tuple[Path, dict[str, recording.Recording]],
                                                 dark: bool) -> None:  # fmt: skip
    browser.open(page[0], dark=dark)
    browser.run("document.querySelectorAll('details').forEach(details => details.open = true)")
    for width in (1280, 800, 400):
        browser.size(width)
        assert browser.run("document.documentElement.scrollWidth") <= width
    # Everything that has text of its own, as it is painted on the page.
    contrast = browser.run("""(() => {
        const light = (colour) => {
            const [r, g, b] = colour.match(/[\\d.]+/g).map(value => (value /= 255) <= 0.04045 ? value / 12.92
                : ((value + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
        };
        const page = getComputedStyle(document.body).backgroundColor;
        const behind = light(page === 'rgba(0, 0, 0, 0)' ? 'rgb(255, 255, 255)' : page);
        return Math.min(...['body', '.quiet', '.more', '.less', 'a', 'caption'].map((where) => {
            const here = light(getComputedStyle(document.querySelector(where)).color);
            return Math.max(here, behind) / Math.min(here, behind);
        }));
    })()""")
    assert contrast >= 4.5


STACKS = {"linux": 3, "linux+audit=1": 7}  # instructions in the innermost frame per op, besides one in each other


@pytest.fixture(scope="module")
def flames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of two guests with call stacks."""
    root = tmp_path_factory.mktemp("flames")
    for spec, inner in STACKS.items():
        more = synthetic.stacks(["main", "getppid", NASTY], [1009, 1009, 1009 * inner])
        synthetic.record(root, spec, large(), more=more, probe={"stacks": True})
    recordings = [recording.read(place) for place in recording.find(root)]
    path = root / "report.html"
    path.write_text(html.render(compare(recordings, "linux"), recordings), encoding="utf-8")
    return path


def test_flame_graphs_show_stacks_on_one_scale(browser: Browser, flames: Path) -> None:
    browser.open(flames)
    texts = browser.run("[...document.querySelectorAll('.flame')].map(chart => [...chart.querySelectorAll('.slice')]"
                        ".map(slice => slice.textContent))")  # fmt: skip
    assert [len(one) for one in texts] == [4, 4]
    assert all({"null-call", "main", "getppid"} <= set(one) for one in texts)
    widths = browser.run("[...document.querySelectorAll('.flame')].map(chart => "
                         "chart.querySelector('path.surface').getBoundingClientRect().width)")  # fmt: skip
    assert widths[0] / widths[1] == pytest.approx(5 / 9, abs=0.01)
    assert browser.run("document.querySelectorAll('.flame img, .flame script').length") == 0
    browser.run("document.getElementById('flame-phase').value = '1';"
                "document.getElementById('flame-phase').dispatchEvent(new Event('change'))")  # fmt: skip
    assert browser.run("[...document.querySelectorAll('.flame')].map(chart => chart.hidden)") == [True, True]
    said = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
    assert [event for event in browser.events if event["method"] in said] == []


def test_without_stacks_there_are_no_flame_graphs(
    browser: Browser, page: tuple[Path, dict[str, recording.Recording]]
) -> None:
    browser.open(page[0])
    assert browser.run("document.querySelectorAll('#flames, .flame').length") == 0
