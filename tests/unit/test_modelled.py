"""Modelled cycles in a comparison: of what is compared, as a range, on every machine or on one with every finding."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from analysis import prices
from analysis.compare import compare
from analysis.comparison import Comparison
from analysis.cycles import Decider, Modelled, Range, Sign
from analysis.prices import CLASSES
from analysis.views import cycles as view
from analysis.views import html, markdown, terminal
from analysis.views import json as as_json
from probes import recording
from profiler.cli.main import main
from profiler.errors import UsageError
from tests import synthetic
from tests.golden.refresh import GOLDEN
from tests.unit.test_costly import SEEN, Row, costly

TOY = """
machine = "Toy"
[sources.manual]
what = "The toy's manual"
address = "https://example.org/manual"
[price.instruction]
low = 1
high = 2
sources = ["manual"]
says = "one or two"
[price.string_bytes]
low = 8
high = 8
sources = ["manual"]
says = "eight bytes per cycle"
[price.cr3]
low = 100
high = 300
sources = ["manual"]
says = "100 to 300"
"""


@pytest.fixture
def toy(tmp_path: Path) -> str:
    place = tmp_path / "toy.toml"
    place.write_text(TOY, encoding="utf-8")
    return str(place)


def compared(root: Path, base: list[Row], other: list[Row], lists: list[str], **changes: Any) -> Comparison:
    """The tour against one whose pages cost a hundred instructions more, with some costly instructions of each."""
    slower = synthetic.tour()
    slower[2].work["page-fault", "mm-fault", "handle_mm_fault"] += 100
    for spec, phases, rows in (("linux", synthetic.tour(), base), ("bsd", slower, other)):
        synthetic.record(root / "out", spec, phases, [0], costly(rows), **{"probe": SEEN, **changes})
    found = [recording.read(place) for place in recording.find(root / "out")]
    return compare(found, "linux", [prices.load(name) for name in lists])


def test_a_phase_and_its_finding_by_hand(tmp_path: Path, toy: str) -> None:
    rows: list[Row] = [(2, "page-fault", "mm-fault", "cr3", 509)]
    (pair,) = compared(tmp_path, [], rows, [toy]).pairs
    (phase,) = pair.phases[2].modelled
    # 868 instructions and 4,096 bytes on linux; 967 and a write of CR3 on bsd
    assert phase.base == Range(868 + 512, 2 * 868 + 512)
    assert phase.other == Range(967 + 512 + 100, 2 * 967 + 512 + 300)
    assert phase.delta == Range(99 + 100, 2 * 99 + 300)
    (finding,) = pair.phases[2].findings
    (one,) = finding.modelled
    assert (one.delta, one.sign) == (phase.delta, "more")
    assert one.base == Range(500, 1000)
    assert pair.findings[0].modelled[0].delta == Range(509 * 199, 509 * 498)
    assert pair.modelled[0].delta == Range(509 * 199, 509 * 498)


def test_a_list_can_make_more_instructions_fewer_cycles(tmp_path: Path, toy: str) -> None:
    rows: list[Row] = [(2, "page-fault", "mm-fault", "cr3", 509)]
    comparison = compared(tmp_path, rows, [], [toy])
    (one,) = comparison.pairs[0].phases[2].modelled
    assert comparison.pairs[0].phases[2].instructions.delta == 100
    assert (one.delta, one.sign) == (Range(101 - 300, 202 - 100), "depends on prices")
    assert one.decider == Decider("cr3", -1, 101, 202)
    text = terminal.render(comparison)
    # More instructions, fewer writes of CR3: bsd costs fewer cycles where those are dear.
    assert "-199..+102" in text
    said = "depends on prices, most on that of cr3: fewer above 202 cycles and more below 101 cycles"
    assert said in " ".join(text.split())


def test_neither_waiting_nor_the_emulator_is_work(tmp_path: Path, toy: str) -> None:
    plain = compared(tmp_path / "plain", [], [], [toy]).pairs[0].modelled
    rows: list[Row] = [(2, "background", "idle", "hlt", 509), (2, "page-fault", "emulation", "mmio", 5090)]
    assert compared(tmp_path / "more", rows, rows[:1], [toy]).pairs[0].modelled == plain


def test_deferred_work_is_its_operations(tmp_path: Path, toy: str) -> None:
    rows: list[Row] = [(1, "deferred:write", "fs", "cr3", 211)]
    (pair,) = compared(tmp_path, [], rows, [toy]).pairs
    assert pair.phases[1].modelled[0].delta == Range(-2 + 100, -1 + 300)  # it is no ordinary one any more


def test_an_access_to_a_device_is_an_instruction_too(tmp_path: Path, toy: str) -> None:
    (pair,) = compared(tmp_path, [], [(1, "write", "fs", "mmio", 211)], [toy]).pairs
    (one,) = pair.phases[1].modelled
    assert one.delta == Range(0, math.inf)  # the instruction itself is on both sides
    assert one.unlimited == {"mmio": (0, 1)}


@pytest.mark.parametrize("seen", [{}, {"capabilities": {"costly instructions": {"available": False, "reason": "no"}}}])
def test_what_was_not_counted_is_not_modelled(tmp_path: Path, toy: str, seen: dict[str, Any]) -> None:
    comparison = compared(tmp_path, [], [], [toy], probe=seen)
    (pair,) = comparison.pairs
    assert pair.modelled == pair.findings[0].modelled == pair.phases[2].modelled == ()
    assert "Modelled cycles: none; not every recording has counts of costly" in terminal.render(comparison)
    assert json.loads(as_json.render(comparison))["comparisons"][0]["modelled_cycles"] == []


def test_json_has_every_machine_and_its_prices(tmp_path: Path, toy: str) -> None:
    rows: list[Row] = [(2, "page-fault", "mm-fault", "rdmsr", 1018)]
    told = json.loads(as_json.render(compared(tmp_path, rows, [], [toy, "zen2"])))
    assert [one["name"] for one in told["price_lists"]] == ["toy", "zen2"]
    assert told["price_lists"][0]["cycles"][2] == {
        "class": "cr3", "low": 100, "high": 300, "says": "100 to 300", "measured_on": "",
        "sources": [{"what": "The toy's manual", "address": "https://example.org/manual"}],
    }  # fmt: skip
    phase = told["comparisons"][0]["phases"][2]
    assert [one["machine"] for one in phase["modelled_cycles_per_op"]] == ["toy", "zen2"]
    assert phase["findings"][0]["modelled_cycles"][0] == {
        "machine": "toy", "base": {"low": 498, "high": None}, "other": {"low": 600, "high": 1200},
        "delta": {"low": None, "high": 204}, "sign": "depends on prices",
        "decided_by": {"class": "rdmsr", "delta": -2, "certain_below": 51, "certain_above": 102},
        "no_upper_price": [{"class": "rdmsr", "base": 2, "other": 0}],
    }  # fmt: skip


def test_several_machines_make_a_table(tmp_path: Path) -> None:
    rows: list[Row] = [(2, "page-fault", "mm-fault", "rdmsr", 1018), (2, "page-fault", "entry", "iret", 509)]
    text = terminal.render(compared(tmp_path, rows, [], ["skylake-sp", "zen3"]), brief=True)
    lines = text.splitlines()
    (head,) = (at for at, line in enumerate(lines) if line.endswith("difference  1"))
    assert [line.split()[0] for line in lines[head + 1 : head + 3]] == ["skylake-sp", "zen3"]
    assert [line[-1] for line in lines[head + 1 : head + 3]] == ["?", "?"]
    flat = " ".join(text.split())
    assert "all phases on rdmsr; 1 on rdmsr." in flat
    assert "No upper price is known of: iret 509 -> 0 (zen3); rdmsr 1,018 -> 0." in flat
    assert max(map(len, lines)) <= 80


def test_machines_that_agree_stand_together() -> None:
    def one(machine: str, low: float, high: float, sign: Sign, on: str = "") -> Modelled:
        nothing = Range(0, 0)
        decider = Decider(on, 1, None, None) if on else None
        return Modelled(machine, nothing, nothing, Range(low, high), sign, decider, {})

    more = [one("a", 1, 20, "more"), one("b", 4, math.inf, "more")]
    unsure = [one("c", -8, 3, "depends on prices", "cr3"), one("d", -9, 2, "depends on prices", "cr3")]
    other = one("e", -1, 1, "depends on prices", "iret")
    assert view.each(more) == "Modelled cycles: on all 2 machines +1 or more, more."
    assert view.each(more[:1]) == "Modelled cycles: on a +1..+20, more."
    assert view.each([*unsure, *more, other]) == (
        "Modelled cycles: on c and d -9..+3, depends on prices (most on that of cr3); on a and b +1 or more, more; "
        "on e -1..+1, depends on prices (most on that of iret).")  # fmt: skip
    assert view.each([]) == ""


def test_a_page_and_markdown_have_the_ranges_and_what_they_depend_on(tmp_path: Path, toy: str) -> None:
    rows: list[Row] = [(2, "page-fault", "mm-fault", "cr3", 509), (2, "page-fault", "mm-fault", "rdmsr", 1018)]
    comparison = compared(tmp_path, rows, [], [toy, "zen2"])
    found = [recording.read(place) for place in recording.find(tmp_path / "out")]
    page = re.sub(r"<br>|</?(?:td|span|p|li)[^>]*>", " ", html.render(comparison, found))
    for text in (" ".join(page.split()), markdown.render(comparison).replace("\\", "").replace(" |", "")):
        assert "nothing was timed." in text
        # A phase, its finding, and all phases; more instructions, and fewer writes of CR3.
        (pair,) = comparison.pairs
        told = view.each(pair.phases[2].modelled)
        assert told.startswith(
            "Modelled cycles: on toy +106 or less, depends on prices (most on that of rdmsr); on zen2 +"
        )
        assert told in text
        assert view.each(pair.findings[0].modelled) in text
        (one, _) = pair.modelled
        assert one.sign == "depends on prices"
        said = [view.span(one.base), view.span(one.other), view.span(one.delta, sign=True), "depends on prices, most"]
        assert f"toy {' '.join(said)} on that of rdmsr: fewer above" in text
        assert "No upper price is known of: cr3 509 -&gt; 0 (zen2); rdmsr 1,018 -&gt; 0 (toy)." in text
    none = compared(tmp_path / "none", [], [], [toy], probe={})
    assert "Modelled cycles" not in markdown.render(none)
    places = recording.find(tmp_path / "none" / "out")
    assert view.NONE in html.render(none, [recording.read(place) for place in places])


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (Range(1, 2), "1..2"), (Range(-3, 2.5), "-3..2.5"), (Range(7, 7), "7"), (Range(0, 0), "0"),
        (Range(12_345_678, math.inf), "12.3 M or more"), (Range(-math.inf, -4), "-4 or less"),
        (Range(-math.inf, math.inf), "any"),
    ],
)  # fmt: skip
def test_a_range_in_words(one: Range, said: str) -> None:
    assert view.span(one) == said
    assert len(view.span(Range(-99_999, 99_999), sign=True)) <= 17


def test_what_decides_in_words() -> None:
    assert view.decided(Decider("iret", 2, 100, None)).endswith("most on that of iret: fewer below 100 cycles")
    assert view.decided(Decider("iret", -2, None, 0.0)).endswith("iret: fewer above 0 cycles")
    assert view.decided(Decider("rdmsr", -2, None, None)).endswith("rdmsr: and on others, whatever that is")
    assert view.decided(Decider("string_bytes", 2, 0.125, 0.25)).endswith(
        "string bytes: more below 4 bytes per cycle and fewer above 8 bytes per cycle")  # fmt: skip


def test_the_command_takes_machines(capsys: pytest.CaptureFixture[str], toy: str) -> None:
    linux = str(GOLDEN["linux"].place)
    assert main(["explain", linux, "--against", "linux", "--brief", "--prices", toy]) == 0
    assert "Modelled cycles on toy, Toy: counts times prices" in capsys.readouterr().out
    assert main(["explain", linux, "--against", "linux", "--format", "json", "--prices", "zen2", "--prices", toy]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["machine"] for one in told["comparisons"][0]["modelled_cycles"]] == ["zen2", "toy"]
    assert main(["explain", linux, "--against", "linux", "--prices", "pentium"]) == UsageError("").exit_code
    assert "no price list 'pentium'" in capsys.readouterr().err


def test_they_are_those_of_real_recordings() -> None:
    golden = GOLDEN["redis"]
    (pair,) = golden.comparison().pairs
    (phase,) = (phase for phase in pair.phases if phase.name == "large-get")
    at = [one.name for one in golden.comparison().prices].index("skylake-sp")
    listed = prices.load("skylake-sp")
    for spec, told in ((pair.base.spec, phase.modelled[at].base), (pair.other.spec, phase.modelled[at].other)):
        sums: Counter[str] = Counter()
        runs = [one for one in golden.recordings() if one.spec == spec]
        for one in runs:
            for name in ("ledger", "costly"):
                for row in one.table(name).to_pylist():
                    if row["phase"] != phase.number or row["layer"] in ("emulation", "device-wait", "idle"):
                        continue  # all else is compared: both run Debian's redis-server
                    if name == "ledger":
                        sums["instruction"] += row["instructions"]
                        sums["string_bytes"] += row["rep_bytes"]
                    else:
                        sums[row["instruction"]] += row["count"]
                        sums["instruction"] -= row["count"] * (row["instruction"] != "mmio")
        per_op = {name: count / phase.ops / len(runs) for name, count in sums.items()}
        lows, highs = (dict(zip(CLASSES, ends.tolist(), strict=True)) for ends in listed.ends)
        assert told.low == pytest.approx(sum(count * lows[name] for name, count in per_op.items()))
        high = sum(count * highs[name] for name, count in per_op.items() if count)
        assert told.high == pytest.approx(high) or (math.isinf(told.high) and math.isinf(high))


def test_one_machine_on_real_recordings() -> None:
    """OSv executes fewer instructions for a request of redis, and more locked ones: a price decides."""
    (pair,) = GOLDEN["redis"].comparison().pairs
    at = [one.machine for one in pair.modelled].index("skylake-sp")
    for phase in pair.phases:
        assert phase.instructions.delta < 0 or phase.name == "large-get"
        assert phase.modelled[at].sign == "depends on prices"
        assert phase.modelled[at].unlimited == {}
    whole = pair.modelled[at].decider
    assert whole is not None
    assert (whole.name, whole.below) == ("instruction", None)
    assert whole.above == pytest.approx(1.54, abs=0.01)
