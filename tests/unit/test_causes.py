"""One cause over several layers of an operation is one finding; two causes that can be told apart stay two."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.causes import Evidence, pieces
from analysis.compare import compare
from analysis.comparison import Pair
from analysis.functions import Functions, Sides
from analysis.rank import Finding
from analysis.statistics import Change, spread
from analysis.views import html, markdown, terminal
from analysis.views import json as as_json
from probes import recording
from tests import synthetic
from tests.synthetic import Phase

HOOKS = {("security", "audit_entry"): 49, ("entry", "trace_enter"): 42, ("time", "ktime_get"): 15}


def hooked(phases: list[Phase], hooks: dict[tuple[str, str], int] = HOOKS) -> list[Phase]:
    """Each system call goes through functions of several layers more."""
    for phase in phases:
        for operation in phase.calls:
            for (layer, function), cost in hooks.items():
                if operation != "page-fault":
                    phase.work[operation, layer, function] = cost
    return phases


def cheaper(phases: list[Phase], by: int = 14) -> list[Phase]:
    """Each system call costs less in a function that it goes through anyway."""
    for phase in phases:
        for cell in phase.work:
            if cell[2] == "entry_SYSCALL_64":
                phase.work[cell] -= by
    return phases


def against(root: Path, other: list[Phase], base: list[Phase] | None = None, seeds: tuple[int, ...] = (0, 1),
            **changes: Any) -> Pair:  # fmt: skip
    synthetic.record(root, "linux", base or synthetic.tour(), seeds)
    synthetic.record(root, "linux+x", other, seeds, **changes)
    return compare([recording.read(place) for place in recording.find(root)], "linux").pairs[0]


def told(findings: tuple[Finding, ...]) -> list[tuple[str, int, tuple[str, ...]]]:
    return [(one.layer, round(one.change.delta), one.evidence) for one in findings]


# -- over layers ------------------------------------------------------------------------------------------------------


def test_functions_that_are_entered_together_in_every_operation_are_one_cause(tmp_path: Path) -> None:
    pair = against(tmp_path, hooked(synthetic.tour()))
    (finding,) = pair.phases[0].findings
    assert finding.layers == (("security", pytest.approx(49)), ("entry", pytest.approx(42)), ("time", 15))
    assert (finding.layer, finding.evidence, finding.share) == ("security", ("calls",), pytest.approx(1))
    assert "in layers security (+49), entry (+42) and time (+15): audit_entry, trace_enter" in finding.sentence
    assert "One cause: in every operation, functions of these layers are entered together." in finding.sentence
    (whole,) = pair.findings
    assert set(whole.operations) == {"getppid", "openat", "write", "close"}
    assert whole.change.delta == pytest.approx(106 * (1009 + 3 * 211))


def test_every_view_names_all_layers(tmp_path: Path) -> None:
    against(tmp_path, hooked(synthetic.tour()))
    recordings = [recording.read(place) for place in recording.find(tmp_path)]
    comparison = compare(recordings, "linux")
    for text in (terminal.render(comparison), markdown.render(comparison), html.render(comparison, recordings)):
        assert "security +2" in text.replace("\\+", "+")
    assert "By layer: security +49, entry +42 and time +15." in " ".join(terminal.render(comparison).split())
    (finding,) = as_json.findings(comparison)["comparisons"][0]["phases"][0]["findings"]
    assert (finding["layer"], finding["one_cause_by"]) == ("security", ["calls"])
    assert finding["layers"] == [{"layer": "security", "delta": 49}, {"layer": "entry", "delta": 42},
                                 {"layer": "time", "delta": 15}]  # fmt: skip
    assert finding["evidence"]["cells"] == 3


def test_two_causes_that_go_either_way_stay_two(tmp_path: Path) -> None:
    pair = against(tmp_path, cheaper(hooked(synthetic.tour())))
    assert told(pair.phases[0].findings) == [("security", 106, ("calls",)), ("entry", -14, ())]
    assert [round(sum(delta for _, delta in one.layers)) for one in pair.phases[0].findings] == [106, -14]


def test_what_is_entered_elsewhere_than_the_rest_stays_apart(tmp_path: Path) -> None:
    """A second hook, in one operation only: what is entered in all of them has nothing to do with it."""
    other = hooked(synthetic.tour())
    other[0].work["getppid", "accounting", "tracer"] = 470
    assert told(against(tmp_path, other).phases[0].findings) == [("accounting", 470, ()), ("security", 106, ("calls",))]


def test_in_few_operations_nothing_says_that_layers_belong_together(tmp_path: Path) -> None:
    phases = synthetic.tour()
    for layer, cost in (("security", 49), ("time", 15)):
        phases[0].work["getppid", layer, f"{layer}_hook"] = cost
        phases[1].work["close", layer, f"{layer}_hook"] = cost
    assert told(against(tmp_path, phases).phases[0].findings) == [("security", 49, ()), ("time", 15, ())]


def test_names_of_other_kernels_say_nothing(tmp_path: Path) -> None:
    pair = against(tmp_path, hooked(synthetic.tour()), guest={"kernel_sha256": "ee" * 32})
    assert told(pair.phases[0].findings) == [("security", 49, ()), ("entry", 42, ()), ("time", 15, ())]


def test_a_call_in_the_place_of_an_instruction_is_its_callers(tmp_path: Path) -> None:
    other = synthetic.tour()
    other[1].work["openat", "security", "thunk"] = 6
    other[1].work["openat", "vfs", "path_openat"] -= 1
    (finding,) = against(tmp_path / "one", other).phases[1].findings
    assert finding.layers == (("security", pytest.approx(6)), ("vfs", pytest.approx(-1)))
    assert (finding.evidence, finding.share) == (("sites",), pytest.approx(1))
    assert "Where they are called, an instruction made room for the call." in finding.sentence
    other[1].work["openat", "vfs", "path_openat"] -= 3
    assert told(against(tmp_path / "more", other).phases[1].findings) == [("security", 6, ()), ("vfs", -4, ())]


def test_what_took_the_place_of_something_is_one_cause_with_it(tmp_path: Path) -> None:
    """Registers are saved by other functions, of another layer: what is entered instead, as often, everywhere."""
    base, other = (hooked(synthetic.tour(), {cell: cost}) for cell, cost in
                   ((("process", "wrgsbase"), 22), (("sched", "write_msr"), 106)))  # fmt: skip
    (finding,) = against(tmp_path / "one", other, base).phases[0].findings
    assert finding.layers == (("sched", pytest.approx(106)), ("process", pytest.approx(-22)))
    assert (finding.evidence, finding.share) == (("calls",), pytest.approx(1))
    for phase in base:  # both have it, and one enters it more often: then nothing took its place
        for operation in phase.calls:
            if operation != "page-fault":
                phase.work[operation, "sched", "write_msr"] = 1
    assert told(against(tmp_path / "two", other, base).phases[0].findings) == [("sched", 105, ()), ("process", -22, ())]


def test_what_one_side_does_not_ask_for_is_one_finding(tmp_path: Path) -> None:
    other = synthetic.tour()
    del other[1].calls["openat"]
    for cell in [cell for cell in other[1].work if cell[0] == "openat"]:
        del other[1].work[cell]
    for spec in ("one", "another kernel"):
        changes = {} if spec == "one" else {"guest": {"kernel_sha256": "ee" * 32, "kind": "osv"}}
        finding, *rest = against(tmp_path / spec, other, **changes).phases[1].findings
        assert (finding.operations, finding.evidence, rest) == (("openat",), ("elsewhere",), [])
        assert finding.layers == (("vfs", -2100), ("fs", -900), ("entry", -90))
        assert finding.structural == pytest.approx(finding.change.delta)
        assert "linux+x has no openat here." in finding.sentence


def test_what_is_asked_for_more_often_is_one_finding(tmp_path: Path) -> None:
    other = synthetic.tour()
    other[1].calls["close"] = 3
    for cell in [cell for cell in other[1].work if cell[0] == "close"]:
        other[1].work[cell] *= 3
    (finding,) = against(tmp_path / "one", other).phases[1].findings
    assert (finding.layers, finding.evidence) == ((("vfs", 600), ("entry", 180)), ("asked",))
    assert finding.count == pytest.approx(780)
    assert "because there are more of them (1 -> 3)" in finding.sentence
    apart = against(tmp_path / "another", other, guest={"kernel_sha256": "ee" * 32}).phases[1].findings
    assert told(apart) == [("vfs", 600, ()), ("entry", 180, ())]


def test_entries_that_the_begin_of_a_phase_cuts_tell_nothing_apart(tmp_path: Path) -> None:
    """The thread enters the phase inside a call: of one function an entry is not seen, of another it is."""
    other = hooked(synthetic.tour())
    synthetic.record(tmp_path, "linux", synthetic.tour())
    (place,) = synthetic.record(tmp_path, "linux+x", other)
    made = recording.read(place)
    tables = {name: made.table(name) for name in recording.TABLES}

    def findings(cut: int) -> int:
        rows = tables["ledger"].to_pylist()
        for row in rows:
            row["calls"] -= cut * (row["function"] == "ktime_get" and row["operation"] == "write")
        changed = type(tables["ledger"]).from_pylist(rows, schema=tables["ledger"].schema)
        recording.write(place, made.manifest, {**tables, "ledger": changed}, b"")
        pair = compare([recording.read(place) for place in recording.find(tmp_path)], "linux").pairs[0]
        return len(pair.phases[0].findings)

    assert [findings(cut) for cut in (0, 1, 100)] == [1, 1, 2]


def test_what_is_answered_elsewhere_is_like_itself_only(tmp_path: Path) -> None:
    """Its functions are those of other operations too, of which each is a finding as before."""
    base, other = synthetic.tour(), synthetic.tour()
    for phase, missing in ((base[1], False), (other[1], True)):
        phase.work["close", "fs", "shmem_mknod"] = 900 - 800 * missing
        if missing:
            del phase.calls["openat"]
            for cell in [cell for cell in phase.work if cell[0] == "openat"]:
                del phase.work[cell]
    found = against(tmp_path, other, base).phases[1].findings
    assert [(one.operations, round(one.change.delta)) for one in found] == [(("openat",), -3090), (("close",), -800)]


def unlocking(phases: list[Phase], event: int, each: int, counts: dict[str, int]) -> list[Phase]:
    """Each unlocking costs ``each``, and if ``event`` is not 0, writes one; ``counts`` are per op."""
    for phase in phases:
        for operation in phase.calls.keys() & counts.keys():
            for layer, function, cost in (("lock", "mutex_unlock", each), ("accounting", "trace", event)):
                if cost:
                    cell, times = (operation, layer, function), counts[operation]
                    phase.work[cell], phase.entered[cell] = cost * times, times
    return phases


def test_what_a_call_costs_its_caller_is_of_that_cause(tmp_path: Path) -> None:
    """A tracepoint: the way there and back is in the function that has it."""
    counts = {"getppid": 1, "openat": 8, "write": 6, "close": 3}
    base, other = unlocking(synthetic.tour(), 0, 10, counts), unlocking(synthetic.tour(), 136, 30, counts)
    (finding,) = against(tmp_path / "one", other, base).phases[1].findings
    assert finding.layers == (("accounting", 136 * 17), ("lock", 20 * 17))
    assert (finding.evidence, set(finding.operations)) == (("callers",), {"openat", "write", "close"})
    assert "Whoever calls them does, too, by as many for each call." in finding.sentence
    for phase in other:  # not by as many each time: nothing says that it is for the call
        for operation in phase.calls.keys() & counts.keys():
            phase.work[operation, "lock", "mutex_unlock"] += 7
    told_of = against(tmp_path / "two", other, base).phases[1].findings
    assert [(one.layer, one.evidence) for one in told_of] == [("accounting", ()), ("lock", ())]


def test_two_causes_that_are_both_of_each_call_of_every_operation_stay_two(tmp_path: Path) -> None:
    counts = {"getppid": 1, "openat": 1, "write": 2, "close": 1}
    base, other = unlocking(synthetic.tour(), 0, 10, counts), unlocking(synthetic.tour(), 136, 30, counts)
    assert told(against(tmp_path, other, base).phases[0].findings) == [("accounting", 136, ()), ("lock", 20, ())]


def added(add: str, sub: str, times: int = 1) -> list[Phase]:
    """What ``openat`` adds to an account ``close`` takes away, by functions of these names."""
    phases = synthetic.tour()
    for cell, cost in ((("openat", "accounting", add), 120), (("close", "accounting", sub), 52)):
        phases[1].work[cell], phases[1].entered[cell] = cost, times if cell[0] == "close" else 1
    return phases


def test_functions_of_one_subsystem_that_are_entered_as_often_are_one_cause(tmp_path: Path) -> None:
    (finding,) = against(tmp_path / "one", added("racct_add", "__racct_sub")).phases[1].findings
    assert (finding.operations, finding.evidence) == (("openat", "close"), ("family",))
    assert finding.change.delta == pytest.approx(172)
    assert "One cause: functions of one subsystem, by their names, entered equally often." in finding.sentence
    two = [("accounting", 120, ()), ("accounting", 52, ())]
    for number, other in enumerate((added("racct_add", "rctl_sub"), added("racct_add", "racct_sub", 3))):
        assert told(against(tmp_path / f"{number}", other).phases[1].findings) == two, "another's, or more often"
    base, other = synthetic.tour(), added("do_add", "do_sub")
    for phases in (base, other):
        phases[0].work["getppid", "process", "do_getppid"] = 3
    assert told(against(tmp_path / "word", other, base).phases[1].findings) == two, "other layers begin so, too"
    less, more = added("racct_add", "racct_sub"), added("racct_add", "racct_sub")
    del less[1].work["openat", "accounting", "racct_add"], more[1].work["close", "accounting", "racct_sub"]
    assert told(against(tmp_path / "way", more, less).phases[1].findings) == [("accounting", 120, ()),
                                                                             ("accounting", -52, ())]  # fmt: skip


@pytest.mark.parametrize(("entered", "saved", "one"), [(3, 0, True), (2, 0, False), (3, 600, False)])
def test_what_nobody_asks_for_goes_with_what_is_asked_for_as_many_times_more(
    tmp_path: Path, entered: int, saved: int, one: bool
) -> None:
    """Each interrupt wakes the idle loop; but not where most of what the CPU does then is less."""
    base, other = synthetic.tour(), synthetic.tour()
    other[1].calls["close"] = 3
    for phase, times in ((base[1], 1), (other[1], entered)):
        for cell in [cell for cell in phase.work if cell[0] == "close"]:
            phase.work[cell] *= phase.calls["close"]
        loop = ("background", "idle", "cpu_idle")
        phase.work[loop], phase.entered[loop] = 200 * times, times
        phase.work["background", "timer", "stop_tick"] = 700 - saved * (phase is other[1])
    found = told(against(tmp_path, other, base).phases[1].findings)
    assert found[0] == (("vfs", 1180, ("asked", "follows")) if one else ("vfs", 780, ("asked",)))
    assert [size for _, size, _ in found[1:]] == ([] if one else [-600, 400] if saved else [200])


# -- what always holds ------------------------------------------------------------------------------------------------


@st.composite
def tables(draw: st.DrawFn) -> Functions:
    """Functions of cells of a few operations of two phases, which cost whole numbers and are entered now and then."""
    keys = draw(st.lists(st.tuples(*[st.integers(0, 3)] * 3), min_size=1, max_size=24, unique=True))
    keys.sort()
    cells = {cell: number for number, cell in enumerate(sorted({key[:2] for key in keys}))}
    sides = []
    for most, few in ((60, 6), (8, 2)):
        rows = st.lists(st.integers(0, draw(st.sampled_from([few, most]))), min_size=len(keys), max_size=len(keys))
        runs = [draw(st.lists(rows, min_size=1, max_size=3)) for _ in range(2)]
        sides.append(Sides(*(np.array(run, dtype=np.float64).T for run in runs)))
    operation, _, function = (np.array(column, dtype=np.int64) for column in zip(*keys, strict=True))
    asked = st.lists(st.integers(0, 4), min_size=4, max_size=4)
    calls = Sides(*(np.array(draw(asked), dtype=np.float64)[operation][:, None] for _ in range(2)))
    cell = np.array([cells[key[:2]] for key in keys], dtype=np.int64)
    once = np.full(len(keys), draw(st.sampled_from([0.001, 1.0])))
    return Functions(operation // 2, operation, cell, function, function // 2 - 1, operation % 2 == 0, once, calls,
                     *sides)  # fmt: skip


def reordered(rows: Functions, order: list[int]) -> Functions:
    columns = (getattr(rows, name)[order] for name in ("phase", "operation", "cell", "function", "family",
                                                       "background", "once"))  # fmt: skip
    return Functions(*columns, *(Sides(side.base[order], side.other[order])
                                 for side in (rows.calls, rows.cost, rows.entered)))  # fmt: skip


def exchanged(rows: Functions) -> Functions:
    return replace(rows, **{name: Sides(side.other, side.base) for name, side in
                            (("calls", rows.calls), ("cost", rows.cost), ("entered", rows.entered))})  # fmt: skip


@settings(deadline=None)
@given(tables(), st.dictionaries(st.integers(0, 3), st.sampled_from(["elsewhere", "asked"]), max_size=2), st.booleans(),
       st.data())  # fmt: skip
def test_pieces_are_of_one_phase_whatever_the_order_and_the_side(
    rows: Functions, whole: dict[int, Evidence], same: bool, data: st.DataObject
) -> None:
    found = pieces(rows, whole, same, True)
    for number in np.unique(found.piece):
        mine, why = found.piece == number, {*found.evidence.get(int(number), ())}
        assert len(np.unique(rows.phase[mine])) == 1
        assert len(np.unique(rows.operation[mine])) == 1 or why & {"follows", "family"}
        assert len(np.unique(rows.cell[mine])) == 1 or why
    back = pieces(exchanged(rows), whole, same, True)
    np.testing.assert_array_equal(found.piece, back.piece)
    assert found.evidence == back.evidence
    order = data.draw(st.permutations(range(len(rows.cell))))
    again = pieces(reordered(rows, order), whole, same, True)
    np.testing.assert_array_equal(found.piece[order], again.piece)
    assert found.evidence == again.evidence


@given(tables())
def test_what_differs_surely_is_what_a_change_calls_so(rows: Functions) -> None:
    """One rule for a figure and for columns of them: whole numbers below 61 differ by more than what is called none."""
    for side in (rows.cost, rows.entered):
        each = (Change(spread(base), spread(other)) for base, other in zip(side.base.tolist(), side.other.tolist(),
                                                                           strict=True))  # fmt: skip
        assert side.sure.tolist() == [one.verdict == "differs" for one in each]


cost = st.integers(min_value=1, max_value=900)


@settings(deadline=None, max_examples=15)
@given(st.dictionaries(st.tuples(st.sampled_from(["security", "entry", "time", "vfs"]), st.sampled_from("abc")), cost,
                       max_size=5), st.integers(0, 40), st.booleans())  # fmt: skip
def test_findings_add_up_and_the_sides_may_be_exchanged(
    tmp_path_factory: pytest.TempPathFactory, hooks: dict[tuple[str, str], int], less: int, lacks: bool
) -> None:
    other = cheaper(hooked(synthetic.tour(), hooks), less)
    if lacks:
        del other[1].calls["close"]
        for cell in [cell for cell in other[1].work if cell[0] == "close"]:
            del other[1].work[cell]
    root = tmp_path_factory.mktemp("planted")
    there = against(root, other)
    back = compare([recording.read(place) for place in recording.find(root)], "linux+x").pairs[0]
    for one, two in ((there, back), *zip(there.phases, back.phases, strict=True)):
        assert sum(each.change.delta for each in one.findings) + one.rest["instructions"] == pytest.approx(
            one.instructions.delta
        )
        for mine, theirs in zip(one.findings, two.findings, strict=True):
            assert mine.change.delta == pytest.approx(-theirs.change.delta)
            assert (mine.operations, mine.phases, mine.evidence) == (theirs.operations, theirs.phases, theirs.evidence)
            assert [layer for layer, _ in mine.layers] == [layer for layer, _ in theirs.layers]
            assert sum(delta for _, delta in mine.layers) == pytest.approx(mine.change.delta)
            assert mine.count + mine.unit + mine.structural == pytest.approx(mine.change.delta)
        cells = [cell for each in one.findings for cell in each.cells]
        assert len(cells) == len(set(cells)), "no function of a cell is in two findings"
