"""What a reader sees: never too wide, never dangerous, and the sums hold."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import json as standard_json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from analysis import words
from analysis.compare import compare
from analysis.comparison import Comparison
from analysis.ledger import Cost, of_guest
from analysis.rank import Finding, Function
from analysis.statistics import Change, spread
from analysis.text import number
from analysis.views import difference, escape, html, icicle, json, markdown, terminal
from probes import recording
from tests import synthetic
from tests.synthetic import Phase

NASTY = "<script>alert(1)</script>\x1b[31m\u202egnp|`*[x](http://e.vil)*\U0001f600\u4e2d\u6587\u0301"
TIMELY = re.compile(r"\b(faster|slower|quick|quicker|speed|seconds?|milliseconds?|latency)\b", re.IGNORECASE)


def compared(root: Path, *changed: tuple[str, list[Phase]], base: list[Phase] | None = None, seeds: int = 1,
             **changes: object) -> tuple[Comparison, list[recording.Recording]]:  # fmt: skip
    synthetic.record(root, "linux", base or synthetic.tour(), range(seeds))
    for spec, phases in changed:
        synthetic.record(root, spec, phases, range(seeds), **changes)
    recordings = [recording.read(place) for place in recording.find(root)]
    return compare(recordings, "linux"), recordings


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> tuple[Comparison, list[recording.Recording]]:
    tour = synthetic.tour()
    return compared(tmp_path_factory.mktemp("usual"), ("linux+audit=1", synthetic.audit(tour)),
                    ("linux+init_on_alloc=0", synthetic.no_clearing(tour)))  # fmt: skip


def nasty() -> list[Phase]:
    """Phases whose names are all out to do harm."""
    phases = synthetic.audit(synthetic.tour())
    for phase in phases:
        phase.name = f"{phase.name} {NASTY} {'w' * 90}"
    phases[0].work["getppid", "security", NASTY] = 900
    phases[0].work["getppid", "vfs", "\u4e2d" * 200] = 950
    phases[2].status, phases[2].reason = "unsupported", NASTY
    return phases


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Comparison, list[recording.Recording]]:
    base = synthetic.tour()
    for phase, other in zip(base, nasty(), strict=True):
        phase.name = other.name
    return compared(
        tmp_path_factory.mktemp("hostile"), (f"linux+{NASTY}", nasty()), base=base,
        guest={"kernel_version": NASTY}, guest_reports={"mitigations": NASTY, NASTY: NASTY},
    )  # fmt: skip


# -- text -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["usual", "hostile"])
def test_text_fits_80_columns_and_has_no_control_characters(which: str, request: pytest.FixtureRequest) -> None:
    text = terminal.render(request.getfixturevalue(which)[0])
    assert max(map(cell_len, text.splitlines())) <= 80
    assert all(character == "\n" or character.isprintable() for character in text)
    assert "\u202e" not in text


@settings(deadline=None, max_examples=40)
@given(st.text(max_size=200), st.integers(min_value=1, max_value=60))
def test_any_text_is_cut_to_exact_width(text: str, width: int) -> None:
    assert cell_len(terminal.fit(escape.clean(text), width)) == width


def test_the_summary_says_what_was_counted_of_whom(usual: tuple[Comparison, object]) -> None:
    head = terminal.render(usual[0]).splitlines()[:12]
    text = "\n".join(head)
    for word in ("not time", "linux+audit=1", "6.1.0-synthetic", "-cpu max", "exact", "few seeds"):
        assert word in text


def test_the_cause_is_in_the_first_lines_of_each_guest(usual: tuple[Comparison, object]) -> None:
    text = re.sub(r"\s+", " ", terminal.render(usual[0]))
    audit, clearing = text.split("== linux+init_on_alloc=0 against")
    first = audit.split("1. ")[1][:200]
    assert "security" in first
    assert "__audit_syscall_exit" in first
    assert "clear_page_erms" in clearing.split("1. ")[1][:200]
    assert "2.08 M fewer bytes" in clearing


def test_phases_without_a_difference_take_one_line(usual: tuple[Comparison, object]) -> None:
    text = terminal.render(usual[0]).split("== linux+init_on_alloc=0")[0]
    section = text.split("== linux+audit=1 against")[1]
    assert "No difference: fresh-pages." in section
    assert section.count("fresh-pages") == 1


def test_colour_adds_nothing_but_colour(usual: tuple[Comparison, object]) -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system="truecolor")
    terminal.explain(usual[0], console)
    assert isinstance(console.file, io.StringIO)
    coloured = console.file.getvalue()
    assert "\x1b[" in coloured
    plain = re.sub(r"\x1b\[[0-9;]*m", "", coloured)
    assert [line.rstrip() for line in plain.splitlines()] == terminal.render(usual[0]).splitlines()


@pytest.mark.parametrize("view", [terminal, json, markdown])
def test_no_word_of_time(view: object, usual: tuple[Comparison, object]) -> None:
    text = view.render(usual[0])  # type: ignore[attr-defined]
    assert not TIMELY.findall(text)


# -- JSON and Markdown ------------------------------------------------------------------------------------------------


def test_json_is_ascii_and_has_the_documented_fields(hostile: tuple[Comparison, object]) -> None:
    text = json.render(hostile[0])
    assert text.isascii()
    value = standard_json.loads(text)
    assert value["findings"] == json.VERSION
    assert value["against"] == "linux"
    finding = value["comparisons"][0]["findings"][0]
    assert {"cost", "sentence", "phases", "operations", "layer", "base", "other", "delta", "share", "parts",
            "functions"} <= finding.keys()  # fmt: skip
    assert sum(finding["parts"].values()) == pytest.approx(finding["delta"])
    assert value["comparisons"][0]["not_compared"][0]["reason"].startswith("not supported by this guest")


def test_json_has_the_leading_cost_first(usual: tuple[Comparison, object]) -> None:
    value = standard_json.loads(json.render(usual[0]))
    assert [one["findings"][0]["cost"] for one in value["comparisons"]] == ["instructions", "string_bytes"]


def test_markdown_is_escaped_and_its_tables_are_whole(hostile: tuple[Comparison, object]) -> None:
    text = markdown.render(hostile[0])
    assert "<script" not in text
    assert "](http" not in text
    assert all(line.isprintable() for line in text.splitlines())
    width = 0
    for line in text.splitlines():
        columns = len(re.findall(r"(?<!\\)\|", line))
        if re.fullmatch(r"(\|---)+\|", line):
            width = columns
        elif line.startswith("|") and width:
            assert columns == width
        elif not line.startswith("|"):
            width = 0


# -- escaping ---------------------------------------------------------------------------------------------------------


@given(st.text(max_size=300))
def test_clean_text_has_nothing_that_acts(text: str) -> None:
    shown = escape.clean(text)
    assert shown.isprintable()
    assert not set(shown) & set("\x1b\u202e\u2066\u200b\r\n\t")
    assert escape.clean(shown) == shown
    assert not set(escape.for_html(text)) & set("<>\"'")


def test_endless_text_is_cut() -> None:
    assert len(escape.clean("x" * 10_000)) == escape.LONGEST
    assert escape.clean("x" * 10_000).endswith("…")


def test_ordinary_text_stays_as_it_is() -> None:
    for text in ("__x64_sys_read", "std::vector<int>", "naïve", "linux+mitigations=off", "中文"):
        assert escape.clean(text) == text


# -- words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.42, "0.42"), (5, "5"), (12.34, "12.3"), (999.4, "999"), (1234, "1,234"), (56_789, "56,789"),
     (123_456, "123 k"), (2_084_864, "2.08 M"), (-4096, "-4,096"), (3.2e10, "32.0 G"), (999_600, "1.00 M")],
)  # fmt: skip
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text


@given(st.floats(min_value=-1e15, max_value=1e15))
def test_numbers_stay_short(value: float) -> None:
    assert len(number(value, sign=True)) <= 9


def test_a_sentence_says_how_much_where_and_why() -> None:
    finding = Finding(
        cost="instructions", phases=(3,), operations=("futex",), layers=(("sched", 240.0),),
        change=Change(spread([100.0]), spread([340.0])), share=0.8, count=240.0, unit=0.0, structural=0.0,
        base_calls=1, other_calls=3, deferred=0, functions=(Function("schedule", 100, 340),), more_functions=0,
        cells=(), other_cost=0,
    )  # fmt: skip
    said = words.sentence(finding, "linux", "osv", {3: "ping-pong"}, 1, True)
    assert said == (
        "osv executes 240 more instructions per op for futex in layer sched: schedule. "
        "This is because there are more of them (1 -> 3)."
    )
    assert "in phase ping-pong" in words.sentence(finding, "linux", "osv", {3: "ping-pong"}, 4, False)


# -- the page ---------------------------------------------------------------------------------------------------------


class Tags(HTMLParser):
    """Start tags and the text outside scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] not in ("script", "style"):
            self.text.append(data)


def parsed(page: str) -> Tags:
    tags = Tags()
    tags.feed(page)
    return tags


@pytest.mark.parametrize("which", ["usual", "hostile"])
def test_the_page_is_one_file_below_6_mb(which: str, request: pytest.FixtureRequest) -> None:
    page = html.render(*request.getfixturevalue(which))
    tags = parsed(page)
    assert len(page.encode()) < 6_000_000
    assert tags.links
    assert all(link.startswith("#") and f'id="{link[1:]}"' in page for link in tags.links)
    assert not {"link", "img", "iframe"} & set(tags.tags)
    assert "never time" in "".join(tags.text)
    assert not TIMELY.findall("".join(tags.text))


def charts_of(page: str) -> dict[str, Any]:
    """The data that the charts are drawn from."""
    (text,) = re.findall(r'<script type="application/json" id="icicles">(.*?)</script>', page)
    value: dict[str, Any] = standard_json.loads(text)
    return value


def test_guest_text_is_text_on_the_page(hostile: tuple[Comparison, list[recording.Recording]]) -> None:
    page = html.render(*hostile)
    tags = parsed(page)
    assert "<script>alert" not in page
    assert "\u202e" not in page
    # Twice data, plotly, and twice what draws: nothing else may bring a script, and only the last three may run.
    assert tags.tags.count("script") == 5
    assert "alert(1)" in "".join(tags.text)
    (policy,) = re.findall(r'Content-Security-Policy" content="(.*?)"', page)
    assert policy.startswith("default-src 'none';")
    for script in re.findall(r"<script>(.*?)</script>", page, re.DOTALL):
        assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy
    # plotly reads a part of HTML in labels: they must be escaped once more than JSON is.
    names = charts_of(page)["names"]
    assert any(name.startswith("&lt;script&gt;alert(1)") for name in names)
    assert not any(set(name) & set("<>\u202e\x1b") for name in names)


def test_tables_have_captions_and_heads(usual: tuple[Comparison, list[recording.Recording]]) -> None:
    page = html.render(*usual)
    assert page.count("<table>") == page.count("<caption>") > 5
    assert "<th>" not in page
    levels = [int(level) for level in re.findall(r"<h(\d)[ >]", page.split("<script>")[0])]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_the_chart_of_the_page_adds_up(usual: tuple[Comparison, list[recording.Recording]]) -> None:
    comparison, recordings = usual
    data = charts_of(html.render(*usual))
    assert len(data["guests"]) == 3
    for guest, trees in zip(comparison.guests, data["guests"], strict=True):
        (mine,) = (one for one in recordings if one.spec == guest.spec)
        for cost, tree in trees.items():
            recorded = mine.ledger.groupby("phase")[cost].sum() / mine.phases.set_index("number")["ops"]
            below = [0.0] * len(tree["values"])
            for node, parent in enumerate(tree["parents"][1:], start=1):
                below[parent] += tree["values"][node]
                if parent == 0:
                    assert tree["values"][node] == pytest.approx(recorded[tree["phases"][node]], abs=1e-3)
            for node in set(tree["parents"]) - {-1}:
                assert below[node] == pytest.approx(tree["values"][node], abs=0.1)


@pytest.mark.parametrize("cost", ["instructions", "rep_bytes"])
def test_two_guests_side_by_side_add_up(usual: tuple[Comparison, list[recording.Recording]], cost: Cost) -> None:
    pair = usual[0].pairs[0]
    for scope in [{phase.number: float(phase.ops) for phase in pair.phases}, {1: 1.0}]:
        found = difference.operations(pair.cells[cost], scope)
        frame = pair.cells[cost].frame
        weights = frame["phase"].map(scope).fillna(0.0)
        for side, functions in (("base", "base_functions"), ("other", "other_functions")):
            layers = [layer for operation in found for layer in operation.layers]
            assert sum(getattr(layer, side) for layer in layers) == pytest.approx((frame[side] * weights).sum())
            for layer in layers:
                assert sum(value for _, value in getattr(layer, functions)) == pytest.approx(getattr(layer, side))
        assert [one.size for one in found] == sorted((one.size for one in found), reverse=True)


def test_what_is_small_is_folded_beside_its_siblings(tmp_path: Path) -> None:
    phases = synthetic.tour()
    for number_of in range(40):
        phases[1].work["openat", "vfs", f"function_{number_of}"] = 1 + number_of
        phases[1].work[f"call_{number_of}", "net", "small"] = 2
        phases[1].work["openat", f"layer_{number_of}", "small"] = 2
    comparison, _ = compared(tmp_path, ("linux+audit=1", synthetic.audit(phases)), base=phases)
    found = {one.name: one for one in difference.operations(comparison.pairs[0].cells["instructions"], {1: 1.0})}
    assert "other (42 operations)" in found  # with interrupt and background
    layers = {layer.name: layer for layer in found["openat"].layers}
    assert layers["other (40 layers)"].base == pytest.approx(80)
    names = [name for name, _ in layers["vfs"].base_functions]
    assert names[0] == "path_openat"
    assert re.fullmatch(r"other \(\d\d functions\)", names[-1])


def test_a_page_of_guests_without_string_bytes(tmp_path: Path) -> None:
    phases = synthetic.tour()
    for phase in phases:
        phase.bytes = {}
    page = html.render(*compared(tmp_path, ("linux+audit=1", synthetic.audit(phases)), base=phases))
    assert [len(trees["rep_bytes"]["parents"]) for trees in charts_of(page)["guests"]] == [1, 1]


def test_a_box_knows_how_often_it_was_entered(usual: tuple[Comparison, list[recording.Recording]]) -> None:
    tree = charts_of(html.render(*usual))
    names, first = tree["names"], tree["guests"][0]["instructions"]
    calls = {names[label]: calls for label, calls in zip(first["labels"], first["calls"], strict=True)}
    assert calls["write"] == 2
    assert calls["path_openat"] == 1
    assert calls["vfs"] is None


# -- the icicle -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [60, 200, 5000])
def test_small_functions_are_folded_and_sums_hold(tmp_path: Path, most: int) -> None:
    phases = synthetic.tour()
    for extra in range(300):
        phases[1].work["openat", "vfs", f"function_{extra:03}"] = 1 + extra
    (place,) = synthetic.record(tmp_path, "linux", phases)
    ledger = of_guest([recording.read(place)], [0, 1, 2])
    tree = icicle.nodes(ledger, {0: "null-call", 1: "files", 2: "fresh-pages"}, most)
    assert len(tree.labels) <= most
    assert all(parent < node for node, parent in enumerate(tree.parents))
    below = [0.0] * len(tree.values)
    for parent, value in zip(tree.parents[1:], tree.values[1:], strict=True):
        below[parent] += value
    leaves = set(range(len(tree.labels))) - set(tree.parents)
    for node, value in enumerate(tree.values):
        assert node in leaves or below[node] == pytest.approx(value)
    total = sum(ledger.total("instructions", phase).mean for phase in range(3))
    assert tree.values[0] == pytest.approx(total)
    folded = [label for label in tree.labels if label.startswith("other (")]
    assert bool(folded) is (most < 5000)
    if most == 200:
        assert "function_299" in tree.labels
        assert "function_000" not in tree.labels


def test_views_are_light_to_import() -> None:
    """The command line imports the terminal view for every explanation; charts come with the page only."""
    code = "import sys, analysis.views.terminal; print(sorted({'plotly', 'pandas'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
