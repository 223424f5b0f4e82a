"""Unit costs of one app times what another does: what is foretold, from which entries, and what cannot be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from analysis.split import Floats
from profiler.errors import NotComparable
from tests.entered import CLEAR, Phase, Recorded, app_phases, audited, call, recorder, unit_phases
from tests.truth.cells import measured
from tests.truth.predict import Costs, Prediction, apart, doubt, foretell, predict


@pytest.fixture
def recorded(tmp_path: Path) -> Recorded:
    return recorder(tmp_path)


def more(told: Prediction, operation: str) -> float:
    """What an operation is foretold to cost more."""
    rows = told.operations.groupby("operation").sum().loc[operation]
    return float(rows["predicted"] - rows["cost"])


def test_what_each_system_call_pays_is_foretold_for_calls_that_the_units_do_not_know(recorded: Recorded) -> None:
    units = recorded("linux", unit_phases()), recorded("linux+x=1", audited(unit_phases()))
    app = recorded("linux", app_phases()), recorded("linux+x=1", audited(app_phases()))
    told = predict(units, app, "instructions")
    truth = measured(app[1], "instructions") - measured(app[0], "instructions")
    for operation, calls in (("fcntl", 5), ("write", 2), ("getppid", 1)):
        assert more(told, operation) == pytest.approx(220 * calls * 101, rel=0.01)
        assert more(told, operation) == pytest.approx(truth.mean(axis=1).groupby("operation").sum()[operation])
    assert told.alike
    assert told.unsure == pytest.approx(0, abs=1)
    assert (told.operations["counts"] - told.operations["cost"]).abs().max() < 1, "that is all in unit costs"


def test_what_goes_with_pages_is_foretold_by_pages_and_not_by_calls(recorded: Recorded) -> None:
    def without(phases: list[Phase]) -> list[Phase]:
        for phase in phases:
            for cell in [cell for cell in phase.bytes if cell[1:] == CLEAR]:
                del phase.bytes[cell], phase.work[cell]
        return phases

    units = recorded("linux", unit_phases()), recorded("linux+x=1", without(unit_phases()))
    app = recorded("linux", app_phases()), recorded("linux+x=1", without(app_phases()))
    told = predict(units, app, "rep_bytes")
    assert more(told, "write") == pytest.approx(-4096 * 101), "one page in each op; the units have four"


def test_what_is_entered_no_more_saves_what_the_app_spends_there(recorded: Recorded) -> None:
    """It is dearer in the app than it is in the units."""
    units = [recorded("linux", audited(unit_phases())), recorded("linux+x=1", unit_phases())]
    app = [recorded("linux", audited(app_phases(), 880)), recorded("linux+x=1", app_phases())]
    assert more(predict(units, app, "instructions"), "fcntl") == pytest.approx(-880 * 5 * 101)


def test_what_the_units_do_not_enter_is_not_foretold(recorded: Recorded) -> None:
    """They never enter do_fcntl, in which the app spends 200 of 290 instructions of each call."""
    units = recorded("linux", unit_phases()), recorded("linux+x=1", audited(unit_phases()))
    app = recorded("linux", app_phases()), recorded("linux+x=1", audited(app_phases()))
    told = predict(units, app, "instructions")
    assert set(told.foretold.index.unique("operation")) == {"getppid", "write"}
    known = told.operations["known"].groupby("operation").first()
    assert known["fcntl"] == pytest.approx(90 / 290)
    assert known["write"] == pytest.approx(1)


@pytest.mark.parametrize(("unknown", "foretold"), [(31, True), (34, False)])
@pytest.mark.parametrize("guest", [0, 1])
def test_a_tenth_may_be_unknown_on_either_guest(recorded: Recorded, unknown: int, foretold: bool, guest: int) -> None:
    apps = [call("write", 1)], [call("write", 1)]
    apps[guest][0].work["write", "fs", "never_entered"] = unknown  # of 290 more
    specs = "linux", "linux+x=1"
    units = [recorded(spec, unit_phases()) for spec in specs]
    told = predict(units, [recorded(spec, app) for spec, app in zip(specs, apps, strict=True)], "instructions")
    assert told.operations["foretold"].tolist() == [foretold]


def test_what_comes_with_time_is_left_out_on_all_sides(recorded: Recorded) -> None:
    ticking, app = unit_phases(), app_phases()
    ticking[0].work["interrupt", "timer", "hrtimer_interrupt"] = 5000
    app[0].work["interrupt", "timer", "hrtimer_interrupt"] = 900
    sides = recorded("linux", app), recorded("linux+x=1", app)
    told = predict([recorded("linux", unit_phases()), recorded("linux+x=1", ticking)], sides, "instructions")
    assert "interrupt" not in told.operations.index.unique("operation")
    assert "interrupt" not in measured(sides[0], "instructions").index.unique("operation")


def foreign(phases: list[Phase], dearer: int = 2) -> list[Phase]:
    """The same phases on a kernel that has no function in common, in which more is entered."""
    for phase in phases:
        phase.work = {(operation, layer, name if layer == "user" else f"xx_{name}"): dearer * cost
                      for (operation, layer, name), cost in phase.work.items()}  # fmt: skip
        phase.bytes = {}
    return phases


def test_on_another_kernel_only_what_is_near_is_foretold(recorded: Recorded) -> None:
    units = recorded("linux", unit_phases()), recorded("bsd", foreign(unit_phases()))
    nearly, another = call("read", 3), call("pwrite", 2, 2)
    another.work["pwrite", "vfs", "do_pwrite"] += 800
    phases = [nearly, another]
    app = recorded("linux", phases), recorded("bsd", foreign([call("read", 3), another]))
    told = predict(units, app, "instructions")
    assert not told.alike
    assert told.foretold.index.unique("operation").tolist() == ["read"]
    assert more(told, "read") == pytest.approx(3 * 290 * 101)
    assert told.operations["apart"].groupby("operation").first()["read"] < 1e-9


@pytest.mark.parametrize(("section", "key", "said"), [
    ("guest", "kernel_sha256", "differ in kernel"), ("qemu", "cpu", "differ in CPU line"),
    ("guest", "spec", "differ in guest"), ("probe", "mode", "differ in probe mode"),
])  # fmt: skip
@pytest.mark.parametrize("guest", [0, 1])
def test_an_app_from_elsewhere_is_refused(recorded: Recorded, section: str, key: str, said: str, guest: int) -> None:
    units = recorded("linux", unit_phases()), recorded("linux+x=1", unit_phases())
    app = [recorded("linux", app_phases()), recorded("linux+x=1", app_phases())]
    app[guest] = [replace(one, manifest={**one.manifest, section: {**one.manifest[section], key: "another"}})
                  for one in app[guest]]  # fmt: skip
    with pytest.raises(NotComparable, match=said):
        predict(units, app, "instructions")


# -- where an entry's cost is taken from: functions are rows, operations columns ---------------------------------------


def costs(entries: list[list[float]], cost: list[list[float]], moved: float = 0.0) -> Costs:
    return Costs(np.array(entries), np.array(cost), np.full((len(entries), len(entries[0])), moved))


def told(base: Costs, other: Costs, own: Costs, entries: list[list[float]]) -> Floats:
    now = np.array(entries)
    return foretell(base, other, own, now, apart(other.entries, now))


def test_the_nearest_operation_says_what_an_entry_costs_on_another_kernel() -> None:
    """A write of one byte and one of a page enter the same function; what else they enter says which is which."""
    nothing = costs([[0, 0], [0, 0]], [[0, 0], [0, 0]])
    other = costs([[100, 100], [100, 0]], [[500, 40_000], [900, 0]])
    app = costs([[0, 0], [0, 0]], [[0, 0], [0, 0]])
    assert told(nothing, other, app, [[10, 10], [9, 1]]).tolist() == [[50, 4000], [81, 9]]


def test_if_it_took_another_path_there_the_next_operation_says_it() -> None:
    base = costs([[100, 100], [7, 1]], [[3000, 2000], [70, 10]])
    other = costs([[100, 100], [7, 1]], [[9000, 2500], [70, 10]])
    app = costs([[10], [0.7]], [[200], [7]])  # as the first in what is entered, and as the second in what that costs
    assert told(base, other, app, [[10], [0.7]])[:, 0].tolist() == pytest.approx([250, 7])


def test_what_is_entered_more_often_costs_what_the_tours_more_entries_cost() -> None:
    """Large objects are cleared on both guests, and on the other small ones too."""
    app = costs([[20.0]], [[20 * 4096.0]])
    grown = told(costs([[10]], [[10 * 4096.0]]), costs([[30]], [[10 * 4096 + 20 * 64.0]]), app, [[50]])
    assert grown.item() == pytest.approx(20 * 4096 + 30 * 64)
    gone = told(costs([[30]], [[10 * 4096 + 20 * 64.0]]), costs([[10]], [[10 * 4096.0]]), app, [[11]])
    assert gone.item() == pytest.approx(20 * 4096 - 9 * 64)


@pytest.mark.parametrize(("moved", "dearer"), [(199.0, 2.0), (201.0, 0.0)])
def test_what_seeds_move_as_much_is_no_difference(moved: float, dearer: float) -> None:
    app = costs([[7.0]], [[70.0]])
    found = told(costs([[100]], [[1000]]), costs([[100]], [[1200]], moved), app, [[7]])
    assert found.item() == pytest.approx(7 * (10 + dearer))


def test_what_the_units_never_enter_costs_the_same_for_each_entry() -> None:
    units = costs([[100], [0]], [[1000], [0]])
    app = costs([[7], [4]], [[70], [88]])
    assert told(units, units, app, [[7], [6]])[:, 0].tolist() == pytest.approx([70, 132])


def test_nothing_costs_less_than_nothing() -> None:
    app = costs([[7.0]], [[70.0]])
    assert told(costs([[100]], [[9000]]), costs([[100]], [[100]]), app, [[7]]).item() == 0


def test_the_tour_says_how_far_it_may_be_off() -> None:
    """Two phases do the same at costs that are 10 % apart, and a third that nobody does likewise."""
    nothing = costs([[0, 0, 0], [0, 0, 0]], [[0, 0, 0], [0, 0, 0]])
    units = costs([[100, 100, 0], [0, 0, 3]], [[1000, 1100, 0], [0, 0, 9000]])
    assert doubt(nothing, units, np.array([1, 2, 3])) == pytest.approx(0.1 / 1.1)
    assert doubt(nothing, units, np.array([1, 1, 3])) == 1, "there is nothing to hold it against"


def test_of_kernels_that_are_alike_it_is_a_share_of_what_unit_costs_make() -> None:
    """Half of what is dearer is so everywhere, and half of it in one phase only."""
    base = costs([[100, 100, 100], [10, 11, 12]], [[1000] * 3, [9000] * 3])
    even = costs([[100, 100, 100], [10, 11, 12]], [[1100] * 3, [9000] * 3])
    uneven = costs([[100, 100, 100], [10, 11, 12]], [[1100, 1100, 1200], [9000] * 3])
    phases = np.array([1, 2, 3])
    assert doubt(base, even, phases) == pytest.approx(0)
    assert 0.4 <= doubt(base, uneven, phases) <= 1
    assert doubt(base, base, phases) == 1, "unit costs make nothing of it"
