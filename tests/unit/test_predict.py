"""Unit costs of one app times what another does: what is foretold, from which entries, and what cannot be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from profiler.errors import NotComparable
from tests.entered import AUDIT, CLEAR, Phase, Recorded, app_phases, audited, call, recorder, unit_phases
from tests.truth.predict import Prediction, measured, predict


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
    assert of(told, "fcntl", "plain") == 0, "by calls of operations nothing is known of it"
    assert of(told, "write", "plain") == pytest.approx(220 * 2 * 101)
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
    assert told.operations["predicted"].sum() == pytest.approx(-4096 * 101)  # one page in each op of the write
    assert of(told, "write", "plain") == pytest.approx(-4096 * 4 * 2 * 101), "the units' writes have four pages each"
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


def test_shares_say_what_the_units_know_of_the_app(recorded: Recorded) -> None:
    base = recorded("linux", unit_phases())
    told = predict(base, recorded("linux+x=1", audited(unit_phases())), recorded("linux", app_phases()), "instructions")
    whole = 5 * 290 + 2 * 290 + 34 + 290
    assert told.asked == pytest.approx((2 * 290 + 34 + 290) / whole)
    assert told.known == pytest.approx((whole - 5 * 200) / whole), "do_fcntl is what they never enter"


def test_what_comes_with_time_is_left_out_on_all_sides(recorded: Recorded) -> None:
    ticking = audited(unit_phases())
    ticking[0].work["interrupt", "timer", "hrtimer_interrupt"] = 5000
    app = app_phases()
    app[0].work["interrupt", "timer", "hrtimer_interrupt"] = 900
    runs = recorded("linux", app)
    told = predict(recorded("linux", unit_phases()), recorded("linux+x=1", ticking), runs, "instructions")
    assert "interrupt" not in told.operations.index.unique("operation")
    assert "interrupt" not in measured(runs, "instructions").index.unique("operation")


def test_between_kernels_that_share_no_functions_there_are_only_calls(recorded: Recorded) -> None:
    other = unit_phases()
    for phase in other:
        phase.work = {(operation, layer, name if layer == "user" else f"xx_{name}"): 2 * cost
                      for (operation, layer, name), cost in phase.work.items()}  # fmt: skip
        phase.bytes = {}
    told = predict(recorded("linux", unit_phases()), recorded("bsd", other), recorded("linux", app_phases()),
                   "instructions")  # fmt: skip
    assert told.pegs == ()
    assert of(told, "getppid") == of(told, "getppid", "plain") == pytest.approx(290 * 101)
    assert not told.operations.xs("fcntl", level="operation")["asked"].any()


def test_only_some_phases(recorded: Recorded) -> None:
    units = recorded("linux", unit_phases()), recorded("linux+x=1", audited(unit_phases()))
    app = recorded("linux", app_phases())
    told = predict(*units, app, "instructions", learn=["read"], apply=["write"])
    assert told.operations.index.unique("operation").tolist() == ["write"]
    assert not told.operations["asked"].any()
    with pytest.raises(NotComparable, match="no phase to learn from"):
        predict(*units, app, "instructions", learn=["no such"])


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
    assert told.operations[["predicted", "plain"]].abs().to_numpy().sum() == 0
