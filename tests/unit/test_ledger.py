"""One guest's recordings become one ledger; two guests' ledgers are joined without losing a cell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from analysis.align import align
from analysis.ledger import Cost, GuestLedger, of_guest
from analysis.statistics import Change, Spread, spread
from probes import recording
from profiler.errors import NotComparable
from tests import synthetic

ALL = [0, 1, 2]
JITTER = ("openat", "vfs", "path_openat")


def ledger(root: Path, phases: list[synthetic.Phase], seeds: list[int], numbers: list[int] = ALL) -> GuestLedger:
    places = synthetic.record(root, "linux", phases, seeds)
    return of_guest([recording.read(place) for place in places], numbers)


def noisy(step: int) -> list[synthetic.Phase]:
    phases = synthetic.tour()
    phases[1].jitter[JITTER] = step * phases[1].ops
    return phases


def test_totals_are_per_op_and_exact(tmp_path: Path) -> None:
    found = ledger(tmp_path, synthetic.tour(), [0])
    assert found.total("instructions", 0).mean == pytest.approx(141)
    assert found.total("rep_bytes", 1).mean == pytest.approx(8192)
    whole = recording.read(recording.find(tmp_path)[0]).phases["instructions"].sum()
    assert found.whole("instructions", dict(found.ops)).mean == pytest.approx(whole)


def test_mean_and_spread_over_seeds(tmp_path: Path) -> None:
    found = ledger(tmp_path, noisy(30), [0, 1, 3])
    total = found.total("instructions", 1)
    assert (total.low, total.high) == (pytest.approx(5281), pytest.approx(5281 + 90))
    assert total.mean == pytest.approx(5281 + 40)
    assert total.relative == pytest.approx(90 / 5321)
    assert found.total("instructions", 0).width == pytest.approx(0)


def test_seeds_with_the_same_ledger_are_one_run(tmp_path: Path) -> None:
    same = ledger(tmp_path / "same", synthetic.tour(), [5, 6, 7])
    assert same.seeds == (5, 6, 7)
    assert same.runs == (5,)
    assert ledger(tmp_path / "other", noisy(1), [5, 6, 7]).runs == (5, 6, 7)


def test_deferred_work_is_with_its_operation_and_counted_apart(tmp_path: Path) -> None:
    phases = synthetic.tour()
    phases[1].work["deferred:write", "fs", "flush_worker"] = 70
    phases[1].work["deferred:write", "fs", "generic_perform_write"] = 5
    found = ledger(tmp_path, phases, [0])
    assert found.costs["instructions"].at[(1, "write", "fs", "flush_worker"), 0] == pytest.approx(70)
    assert found.costs["instructions"].at[(1, "write", "fs", "generic_perform_write"), 0] == pytest.approx(1505)
    assert found.deferred.at[(1, "write", "fs", "flush_worker"), 0] == pytest.approx(70)
    assert found.deferred.at[(1, "write", "fs", "generic_perform_write"), 0] == pytest.approx(5)
    assert found.deferred[0].sum() == pytest.approx(75)
    assert not any("deferred" in key for key in found.costs["instructions"].index.get_level_values("operation"))


def test_the_emulators_layers_are_left_out_and_their_share_is_kept(tmp_path: Path) -> None:
    phases = synthetic.tour()
    phases[0].work["getppid", "emulation", "read_hpet"] = 47
    found = ledger(tmp_path, phases, [0])
    assert found.total("instructions", 0).mean == pytest.approx(141)
    assert found.left_out[0] == pytest.approx(47 / 188)
    assert found.left_out[1] == 0


def test_other_ops_under_another_seed_are_refused(tmp_path: Path) -> None:
    places = synthetic.record(tmp_path, "linux", synthetic.tour(), [0])
    phases = synthetic.tour()
    phases[0].ops = 1013
    places += synthetic.record(tmp_path, "linux", phases, [1])
    with pytest.raises(NotComparable, match="ops"):
        of_guest([recording.read(place) for place in places], ALL)


def test_calls_of_cells_without_calls(tmp_path: Path) -> None:
    base = ledger(tmp_path / "a", synthetic.tour(), [0])
    cells = align(base, base, "instructions").frame.set_index(["phase", "operation", "layer"])["base_calls"]
    assert cells[(1, "write", "fs")] == pytest.approx(2)
    assert cells[(1, "user", "user")] == 1  # the op
    assert cells[(1, "background", "sched")] == pytest.approx(1 / 211)  # the window
    assert cells[(1, "interrupt", "timer")] == pytest.approx(1 / 211)  # one delivery
    assert cells[(2, "page-fault", "mm-fault")] == pytest.approx(1)


@pytest.mark.parametrize("cost", ["instructions", "rep_bytes"])
def test_alignment_conserves_both_sides_and_the_difference(tmp_path: Path, cost: Cost) -> None:
    base = ledger(tmp_path / "a", noisy(7), [0, 1])
    changed = synthetic.no_clearing(synthetic.audit(noisy(3)))
    del changed[1].work["close", "vfs", "filp_close"]
    changed[1].work["fstat", "vfs", "vfs_statx"] = 11
    other = ledger(tmp_path / "b", changed, [0, 1, 2])
    cells = align(base, other, cost)
    for phase in ALL:
        rows = cells.frame["phase"] == phase
        assert cells.frame.loc[rows, "base"].sum() == pytest.approx(base.total(cost, phase).mean)
        assert cells.frame.loc[rows, "other"].sum() == pytest.approx(other.total(cost, phase).mean)
    parts = cells.frame[["count", "unit", "structural"]].sum(axis=1)
    np.testing.assert_allclose(parts, cells.frame["delta"], atol=1e-9)
    below = cells.functions.groupby("cell")["delta"].sum()
    np.testing.assert_allclose(below.to_numpy(), cells.frame["delta"].to_numpy()[below.index], atol=1e-9)
    np.testing.assert_allclose(cells.base_runs.mean(axis=1), cells.frame["base"])
    back = align(other, base, cost)
    np.testing.assert_allclose(back.frame["delta"], -cells.frame["delta"])
    np.testing.assert_allclose(back.frame["unit"], -cells.frame["unit"])


@pytest.mark.parametrize(
    ("base", "other", "verdict"),
    [
        ([100, 100], [100.05, 100.05], "same"),
        ([100, 110], [106, 107], "within seed spread"),
        ([100, 100], [95, 106], "within seed spread"),  # the other side's spread speaks too
        ([100, 101], [103, 103], "differs"),
        ([100], [101], "differs"),
        ([0], [0], "same"),
        ([0], [5], "differs"),
    ],
)
def test_verdicts(base: list[float], other: list[float], verdict: str) -> None:
    assert Change(spread(base), spread(other)).verdict == verdict
    assert Change(spread(other), spread(base)).verdict == verdict


def test_nothing_is_divided_by_zero() -> None:
    change = Change(spread([0.0]), spread([4.0]))
    assert change.ratio is None
    assert change.relative is None
    assert Spread(0, 0, 0, 1).relative == 0
