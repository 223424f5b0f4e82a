"""Unit costs of one app times what another does: what is foretold, from which entries, and what cannot be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from profiler.errors import NotComparable
from tests.entered import AUDIT, CLEAR, Phase, Recorded, app_phases, audited, call, recorder, unit_phases
from tests.truth.cells import measured
from tests.truth.predict import Prediction, predict


@pytest.fixture
def recorded(tmp_path: Path) -> Recorded:
    return recorder(tmp_path)


def of(told: Prediction, operation: str, column: str = "predicted") -> float:
    return float(told.operations[column].groupby("operation").sum()[operation])


def test_what_each_system_call_pays_is_foretold_for_calls_that_the_units_do_not_know(recorded: Recorded) -> None:
    app = recorded("linux", app_phases())
    told = predict(recorded("linux", unit_phases()), recorded("linux+x=1", audited(unit_phases())), app, "instructions")
    truth = measured(recorded("linux+x=1", audited(app_phases())), "instructions") - measured(app, "instructions")
    for operation, calls in (("fcntl", 5), ("write", 2), ("getppid", 1)):
        assert of(told, operation) == pytest.approx(220 * calls * 101, rel=0.01)
        assert of(told, operation) == pytest.approx(truth.mean(axis=1).groupby("operation").sum()[operation], rel=0.01)
    assert [peg.function for peg in told.pegs] == ["audit_call"]
    assert told.pegs[0].to == ("entry_SYSCALL_64",)
    assert told.pegs[0].unit == pytest.approx(220)


def test_what_goes_with_pages_is_foretold_by_pages_and_not_by_calls(recorded: Recorded) -> None:
    def without(phases: list[Phase]) -> list[Phase]:
        for phase in phases:
            for cell in [cell for cell in phase.bytes if cell[1:] == CLEAR]:
                del phase.bytes[cell], phase.work[cell]
        return phases

    app = recorded("linux", app_phases())
    units = recorded("linux", unit_phases()), recorded("linux+x=1", without(unit_phases()))
    told = predict(*units, app, "rep_bytes")
    assert told.operations["predicted"].sum() == pytest.approx(-4096 * 101), "one page in each op; the units have four"
    assert [(peg.function, peg.to) for peg in told.pegs] == [("clear_page_erms", ("clear_page_erms",))]
    assert of(told, "write", "cost") == pytest.approx(2 * 4096 * 101)


def test_a_function_that_is_never_executed_saves_what_the_app_spends_there(recorded: Recorded) -> None:
    """An entry of it is dearer in the app than it is in the units."""
    units = [recorded("linux", audited(unit_phases())), recorded("linux+x=1", unit_phases())]
    told = predict(*units, recorded("linux", audited(app_phases(), 880)), "instructions")
    assert of(told, "fcntl") == pytest.approx(-880 * 5 * 101)


def test_what_seeds_move_as_much_is_no_difference(recorded: Recorded) -> None:
    noisy = audited(unit_phases())
    for phase in noisy:
        for operation in phase.calls:
            phase.jitter[(operation, *AUDIT)] = 220 * 101 * 10
    told = predict(recorded("linux", unit_phases()), recorded("linux+x=1", noisy), recorded("linux", app_phases()),
                   "instructions")  # fmt: skip
    assert told.pegs == ()
    assert told.operations["predicted"].abs().sum() == 0


def test_what_the_units_do_not_enter_is_not_foretold(recorded: Recorded) -> None:
    """They never enter do_fcntl, in which the app spends 200 of 290 instructions of each call."""
    base = recorded("linux", unit_phases())
    told = predict(base, recorded("linux+x=1", audited(unit_phases())), recorded("linux", app_phases()), "instructions")
    assert set(told.foretold.index.unique("operation")) == {"getppid", "write"}
    assert of(told, "fcntl", "known") == pytest.approx(of(told, "fcntl", "instructions") * 90 / 290)
    assert of(told, "write", "known") == of(told, "write", "instructions")


@pytest.mark.parametrize(("unknown", "foretold"), [(31, True), (34, False)])
def test_a_tenth_may_be_unknown(recorded: Recorded, unknown: int, foretold: bool) -> None:
    app = [call("write", 1)]
    app[0].work["write", "fs", "never_entered"] = unknown  # of 290 more
    told = predict(recorded("linux", unit_phases()), recorded("linux+x=1", audited(unit_phases())),
                   recorded("linux", app), "instructions")  # fmt: skip
    assert told.operations["foretold"].tolist() == [foretold]


def test_no_function_saves_more_than_is_spent_in_it(recorded: Recorded) -> None:
    """Each call of the units would save 1 that the other guest does not execute; the app spends 1 there in two."""

    def hooked(phases: list[Phase], cost: int) -> list[Phase]:
        for phase in phases:
            phase.work[(phase.name, "security", "hook")] = cost  # too little to be entered: pegged to other functions
        return phases

    def one_call_each() -> list[Phase]:
        return [call("getppid", 1), call("write", 1, 4)]

    units = [recorded("linux", hooked(one_call_each(), 1)), recorded("linux+x=1", one_call_each())]
    for spent, saved in ((1, 1), (4, 2)):
        told = predict(*units, recorded("linux", hooked([call("write", 2, 1)], spent)), "instructions")
        assert told.operations["predicted"].sum() == pytest.approx(-saved * 101, abs=1)


def test_functions_that_fit_one_by_one_are_not_one_if_together_they_fit_worse(recorded: Recorded) -> None:
    """What each write costs more goes along with its entry, and with a loop that is entered 50 times in each."""

    def looped(calls: int, more: int = 0) -> list[Phase]:
        phases = [call("getppid", 1), call("write", calls)]
        phases[1].work["write", "fs", "loop"] = 50 * 200 * calls
        if more:
            phases[1].work["write", "security", "hook"] = more * calls  # too little to be entered
        return phases

    units = [recorded("linux", looped(1)), recorded("linux+x=1", looped(1, 1))]
    told = predict(*units, recorded("linux", looped(3)), "instructions")
    assert of(told, "write") == pytest.approx(3 * 101)


def test_what_comes_with_time_is_left_out_on_all_sides(recorded: Recorded) -> None:
    ticking = audited(unit_phases())
    ticking[0].work["interrupt", "timer", "hrtimer_interrupt"] = 5000
    app = app_phases()
    app[0].work["interrupt", "timer", "hrtimer_interrupt"] = 900
    runs = recorded("linux", app)
    told = predict(recorded("linux", unit_phases()), recorded("linux+x=1", ticking), runs, "instructions")
    assert "interrupt" not in told.operations.index.unique("operation")
    assert "interrupt" not in measured(runs, "instructions").index.unique("operation")


def test_kernels_that_share_no_functions_are_refused(recorded: Recorded) -> None:
    other = unit_phases()
    for phase in other:
        phase.work = {(operation, layer, name if layer == "user" else f"xx_{name}"): 2 * cost
                      for (operation, layer, name), cost in phase.work.items()}  # fmt: skip
        phase.bytes = {}
    with pytest.raises(NotComparable, match="too few functions in common"):
        predict(recorded("linux", unit_phases()), recorded("bsd", other), recorded("linux", app_phases()),
                "instructions")  # fmt: skip


@pytest.mark.parametrize(("section", "key", "said"), [
    ("guest", "kernel_sha256", "differ in kernel"), ("qemu", "cpu", "differ in CPU line"),
    ("guest", "spec", "differ in guest"), ("probe", "mode", "differ in probe mode"),
])  # fmt: skip
def test_an_app_from_elsewhere_is_refused(recorded: Recorded, section: str, key: str, said: str) -> None:
    units = recorded("linux", unit_phases()), recorded("linux+x=1", audited(unit_phases()))
    app = [replace(one, manifest={**one.manifest, section: {**one.manifest[section], key: "another"}})
           for one in recorded("linux", app_phases())]  # fmt: skip
    with pytest.raises(NotComparable, match=said):
        predict(*units, app, "instructions")


def test_asking_more_often_is_no_unit_cost(recorded: Recorded) -> None:
    """Who polls is asked more often where threads take turns in another way; each time costs the same."""
    often = [call("getppid", 1), call("write", 1, 4), call("read", 6), call("pwrite", 2, 2)]
    told = predict(recorded("linux", unit_phases()), recorded("linux+x=1", often), recorded("linux", app_phases()),
                   "instructions")  # fmt: skip
    assert told.pegs == ()
    assert told.operations["predicted"].abs().sum() == 0
