"""What README and docs show is what the commands print, and figures in the text are of recordings."""

from __future__ import annotations

import re

import pytest

from probes.names import readable
from tests.golden.examples import ROOT, examples, said
from tests.golden.refresh import GOLDEN, UNEXPLAINED

ALL = examples()


def test_every_trace_command_has_an_example() -> None:
    verbs = ("syscalls", "switches", "locks", "waits", "top", "events", "packets", "scale")
    assert {command.split()[0] for command, _ in ALL} == set(verbs)


@pytest.mark.parametrize(("command", "shown"), ALL, ids=[command for command, _ in ALL])
def test_an_example_is_verbatim(command: str, shown: str) -> None:
    assert said(command) == shown, "python -m tests.golden.examples writes them anew"
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert len(shown.splitlines()) > 3


def test_figures_in_the_text_are_those_of_the_example() -> None:
    page = (ROOT / "docs" / "waits.md").read_text(encoding="utf-8")
    example = page.partition("## A worked example")[2].partition("\n## ")[0]
    blocks = "".join(re.findall(r"```console\n(.*?)```", example, re.DOTALL))
    prose = re.sub(r"```console\n.*?```", "", example, flags=re.DOTALL)
    figures = re.findall(r"\d{1,3}(?:,\d{3})+", prose)
    assert len(figures) >= 5
    assert [figure for figure in figures if figure not in blocks] == []


def test_figures_of_the_finding_that_is_followed_are_those_of_its_recordings() -> None:
    page = (ROOT / "docs" / "attribution.md").read_text(encoding="utf-8")
    section = page.partition("## One finding, followed to the ground")[2].partition("\n## ")[0]
    prose = re.sub(r"```console\n.*?```", "", section, flags=re.DOTALL)
    pairs = {pair.other.spec: pair for pair in UNEXPLAINED["mended"].comparison().pairs}
    (before,), (after,) = pairs["osv:libc"].phases, pairs["osv-mended:libc"].phases
    finding = before.findings[0]
    assert (finding.operations, finding.layer) == (("write",), "ipc")
    assert finding.change.interval == pytest.approx((finding.change.delta,) * 2)
    found = finding.functions[0].other
    loop = 13 * 65536 + 40 * 65536 // 512
    assert 0 < found - loop < 0.002 * found
    measured, mended = before.instructions.other.mean, after.instructions.other.mean
    predicted = measured - finding.change.delta
    assert predicted == pytest.approx(finding.alone)
    assert round(100 * (measured - mended) / (measured - predicted)) == 97
    own = finding.change
    figures = [65536, 5120, loop, found, own.base.mean, own.other.mean, *before.instructions.interval]
    figures += [measured, predicted, mended, measured - predicted, measured - mended]
    (was, becomes) = (cells(spec) for spec in ("osv:libc", "osv-mended:libc"))
    figures += [becomes[key] - was.get(key, 0.0) for key in
                (("write", "copy"), ("write", "unattributed"), ("read", "sched"))]  # fmt: skip
    told = re.findall(r"\d{1,3}(?:,\d{3})+", prose)
    assert sorted({*told}) == sorted({f"{figure:,.0f}" for figure in figures})


def cells(spec: str) -> dict[tuple[str, str], float]:
    """Instructions per op by operation and layer, under the first seed."""
    one = next(one for one in UNEXPLAINED["mended"].recordings() if (one.spec, one.seed) == (spec, 1))
    rows = one.table("ledger", ["phase", "operation", "layer", "instructions"]).to_pandas()
    rows = rows[rows["phase"] == 7]
    sums = rows.groupby(["operation", "layer"], observed=True)["instructions"].sum() / 97
    return {(str(operation), str(layer)): float(value) for (operation, layer), value in sums.items()}


SHAPES = (ROOT / "docs" / "attribution.md").read_text(encoding="utf-8").partition("## Shapes")[2].partition("\n## ")[0]
ENTERED = {
    ("linux", "condvar-pingpong"): {"__schedule": 1606, "futex_wait": 803},
    ("osv:libc", "condvar-pingpong"): {"sched::thread::switch_to": 802, "lockfree::mutex::send_lock": 802},
    ("linux", "pipe-pingpong"): {"__schedule": 804},
    ("osv:libc", "pipe-pingpong"): {"sched::thread::switch_to": 806},
    ("linux", "tcp-stream"): {"__tcp_transmit_skb": 109},
    ("osv:libc", "tcp-stream"): {"ip_output": 633, "tcp_output": 1038, "sched::cpu::reschedule_from_interrupt": 1726},
    ("linux", "tcp-pingpong"): {"__tcp_transmit_skb": 304},
    ("osv:libc", "tcp-pingpong"): {"ip_output": 302},
}
"""How often a function is entered in a phase, under the first seed."""


def entered(spec: str, phase: str, seed: int = 1) -> dict[str, int]:
    """The functions of a phase of the tour, by readable names without their arguments."""
    one = next(one for one in GOLDEN["tour"].recordings() if (one.spec, one.seed) == (spec, seed))
    number = next(known["number"] for known in one.manifest["app"]["phases"] if known["name"] == phase)
    rows = one.table("ledger", ["phase", "function", "calls"]).to_pandas()
    rows = rows[rows["phase"] == number]
    names = rows["function"].astype(str).map(lambda name: readable(name).split("(")[0])
    return {str(name): int(calls) for name, calls in rows["calls"].groupby(names).sum().items()}


@pytest.mark.parametrize(("where", "functions"), ENTERED.items(), ids=" ".join)
def test_shapes_count_what_was_recorded(where: tuple[str, str], functions: dict[str, int]) -> None:
    found = entered(*where)
    assert {name: found[name] for name in functions} == functions
    assert [name for name, calls in functions.items() if f"{calls:,}" not in SHAPES] == []


def test_the_modes_of_a_mutex_are_orders_of_turns() -> None:
    found = [entered("freebsd", "mutex-contended", seed) for seed in (6, 1, 8)]
    assert [one["sys__umtx_op"] for one in found] == [1349, 2020, 2022]
    assert [one["doreti_ast"] for one in found] == [1011, 1010, 1348]
    assert all(figure in SHAPES for figure in ("1,349", "2,020", "1,348", "1,010"))


def test_figures_of_shapes_are_those_of_explain() -> None:
    said = (ROOT / "tests" / "golden" / "tour.txt").read_text(encoding="utf-8")
    blocks = "".join(re.findall(r"```text\n(.*?)```", SHAPES, re.DOTALL))
    assert [line for line in blocks.splitlines() if line not in said.splitlines()] == []
    compared = GOLDEN["tour"].comparison()
    cycles = {}
    for pair in compared.pairs:
        for phase in pair.phases:
            cycles[pair.other.spec, phase.name] = next(one for one in phase.modelled if one.machine == "skylake-sp")
    null, mutex = (cycles["osv:static", name].delta for name in ("null-call", "mutex-contended"))
    assert (round(null.low), round(null.high), round(mutex.low), round(mutex.high)) == (-1001, 144, -3708, 923)
    switch = cycles["osv:libc", "condvar-pingpong"]
    ends = [round(switch.base.low / switch.other.low, 1), round(switch.base.high / switch.other.high, 1)]
    assert ends == [3.9, 5.3]
    assert cycles["osv:static", "condvar-pingpong"].sign == cycles["osv:static", "pipe-pingpong"].sign == (
        "depends on prices")  # fmt: skip
    # Every figure with a comma is one of those, of the blocks, or of explain.
    known = {f"{calls:,}" for functions in ENTERED.values() for calls in functions.values()}
    known |= {"1,349", "2,020", "1,348", "1,001", "3,708"}
    prose = re.sub(r"```.*?```", "", SHAPES, flags=re.DOTALL)
    examples_of = "".join(re.findall(r"```console\n.*?```", SHAPES, re.DOTALL))
    unknown = [figure for figure in re.findall(r"\d{1,3}(?:,\d{3})+", prose)
               if figure not in known and figure not in said and figure not in examples_of]  # fmt: skip
    assert unknown == []
    ratios = re.findall(r"x\d+\.\d+", prose)
    redis = (ROOT / "tests" / "golden" / "redis.txt").read_text(encoding="utf-8")
    assert [ratio for ratio in ratios if ratio not in blocks and ratio not in redis] == []
