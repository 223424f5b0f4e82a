"""What must hold of any comparison, on recordings with known changes and noise; and how small a change is found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis.compare import compare
from analysis.comparison import Pair, PhaseComparison
from analysis.rank import Finding
from analysis.statistics import SAME
from probes import recording
from probes.recording import Recording
from tests.synthetic import Phase
from tests.truth import made_up
from tests.truth.made_up import BASE, CELLS, OTHER, Planted

FEW = settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
noises = st.sampled_from([*made_up.NOISES])
seeds = st.integers(0, 1 << 32)
sizes = st.lists(st.sampled_from([-0.05, -0.01, -0.002, 0.0, 0.001, 0.005, 0.02, 0.3]), min_size=3, max_size=3)


def made(seed: int, noise: str, changes: Sequence[float], runs: int = 3) -> dict[str, list[list[Phase]]]:
    """The runs of both guests: three phases, each with three changes of these sizes, in three cells.

    The other guest may read more often, and may not write: what it costs is the same all the same.
    """
    random = np.random.default_rng(seed)
    phases = [made_up.phase(random, f"phase-{place}") for place in range(3)]
    planted = [
        Planted(one.name, size, CELLS[cell], round(size * made_up.costs(one)[CELLS[cell]]))
        for one in phases
        for cell, size in zip(random.permutation(len(CELLS))[:3].tolist(), changes, strict=True)
    ]
    calls = {"read": 1 + seed % 3, "futex": 1} | ({} if seed % 4 == 0 else {"write": 1})
    others = [replace(one, calls=calls) for one in phases]
    return {spec: [made_up.run(random, theirs, noise, mine) for _ in range(runs)]
            for spec, theirs, mine in ((BASE, phases, ()), (OTHER, others, planted))}  # fmt: skip


def written(root: Path, guests: dict[str, list[list[Phase]]]) -> list[Recording]:
    return [made_up.write(root / f"{spec}-{seed}", spec, seed, phases)
            for spec, runs in guests.items() for seed, phases in enumerate(runs)]  # fmt: skip


def cell_sums(runs: Sequence[Sequence[Phase]]) -> np.ndarray:
    """Instructions per op by phase and cell, a mean over the runs that differ."""
    each = [[[sum(one.work[key] * one.ops + one.jitter.get(key, 0) for key in one.work if key[:2] == cell)
              for cell in CELLS] for one in phases] for phases in runs]  # fmt: skip
    found: np.ndarray = np.unique(np.array(each), axis=0).mean(axis=0) / runs[0][0].ops
    return found


@FEW
@given(seeds, noises, sizes)
def test_findings_and_what_none_explains_are_the_difference(
    tmp_path_factory: pytest.TempPathFactory, seed: int, noise: str, changes: list[float]
) -> None:
    guests = made(seed, noise, changes)
    pair = compare(written(tmp_path_factory.mktemp("r"), guests), BASE, []).pairs[0]
    truth = cell_sums(guests[OTHER]) - cell_sums(guests[BASE])
    for place, phase in enumerate(pair.phases):
        near = pytest.approx
        assert phase.instructions.delta == near(truth[place].sum(), abs=1e-6)
        every = [key[1:] for one in phase.findings for key in one.cells]
        assert len(set(every)) == len(every), "no function of a cell is in two findings"
        named = {cell for cell in CELLS if (*cell, made_up.moved(cell)) in every}
        for one in phase.findings:
            mine = sum(truth[place][CELLS.index(key[1:3])] for key in one.cells if key[3] == made_up.moved(key[1:3]))
            assert one.change.delta == near(mine, abs=1e-6)
            assert one.count + one.unit + one.structural == near(one.change.delta, abs=1e-6)
        others = sum(truth[place][number] for number, cell in enumerate(CELLS) if cell not in named)
        assert phase.rest["instructions"] == near(others, abs=1e-6)
    ops = guests[BASE][0][0].ops
    assert pair.instructions.delta == pytest.approx(truth.sum() * ops, abs=1e-4)


def turned(one: Finding) -> tuple[object, ...]:
    """What does not depend on who is the base."""
    return one.operations, one.layer, one.phases, set(one.cells), one.change.verdict, len(one.functions)


@FEW
@given(seeds, noises, sizes)
def test_another_base_changes_only_signs(
    tmp_path_factory: pytest.TempPathFactory, seed: int, noise: str, changes: list[float]
) -> None:
    runs = written(tmp_path_factory.mktemp("r"), made(seed, noise, changes))
    there, back = (compare(runs, spec, []).pairs[0] for spec in (BASE, OTHER))

    def alike(one: PhaseComparison | Pair, other: PhaseComparison | Pair) -> None:
        assert one.instructions.delta == pytest.approx(-other.instructions.delta)
        assert one.instructions.verdict == other.instructions.verdict
        assert [turned(finding) for finding in one.findings] == [turned(finding) for finding in other.findings]
        for mine, yours in zip(one.findings, other.findings, strict=True):
            assert (mine.change.base, mine.change.other) == (yours.change.other, yours.change.base)
            assert mine.share == pytest.approx(yours.share)
            for name in ("count", "unit", "structural", "deferred"):
                assert getattr(mine, name) == pytest.approx(-getattr(yours, name), abs=1e-6)

    alike(there, back)
    for one, other in zip(there.phases, back.phases, strict=True):
        alike(one, other)


@FEW
@given(seeds, noises, sizes)
def test_neither_repetition_nor_order_matters(
    tmp_path_factory: pytest.TempPathFactory, seed: int, noise: str, changes: list[float]
) -> None:
    root, random = tmp_path_factory.mktemp("r"), np.random.default_rng(seed)
    guests = made(seed, noise, changes)
    runs = written(root, guests)
    once = compare(runs, BASE, [])
    assert compare(runs, BASE, []) == once
    assert compare([runs[place] for place in random.permutation(len(runs))], BASE, []) == once
    again = []
    for one in runs:
        tables = {name: one.table(name) for name in recording.TABLES}
        for name in ("ledger", "calls", "threads"):
            tables[name] = tables[name].take(pa.array(random.permutation(tables[name].num_rows)))
        place = root / "again" / one.directory.name
        recording.write(place, one.manifest, tables, b"")
        again.append(recording.read(place))
    assert compare(again, BASE, []) == once


@FEW
@given(seeds, st.sampled_from(["none", "gaussian"]), st.permutations([0.04, 0.02, 0.01]))
def test_the_largest_change_is_first_and_the_others_follow_by_size(
    tmp_path_factory: pytest.TempPathFactory, seed: int, noise: str, order: list[float]
) -> None:
    random = np.random.default_rng(seed)
    base = made_up.phase(random, "one")
    whole = sum(made_up.costs(base).values())
    cells = [CELLS[place] for place in random.permutation(len(CELLS))[:3]]
    planted = [Planted("one", size, cell, round(size * whole)) for size, cell in zip(order, cells, strict=True)]
    guests = {spec: [made_up.run(random, [base], noise, mine) for _ in range(4)]
              for spec, mine in ((BASE, ()), (OTHER, planted))}  # fmt: skip
    pair = compare(written(tmp_path_factory.mktemp("r"), guests), BASE, []).pairs[0]
    wanted = [one.cell for one in sorted(planted, key=lambda one: -one.size)]
    for findings, scale in ((pair.phases[0].findings, 1), (pair.findings, base.ops)):
        assert [(one.operations[0], one.layer) for one in findings[: len(wanted)]] == wanted
        assert all(one.change.verdict == "differs" for one in findings[: len(wanted)])
        assert findings[0].change.delta * base.ops / scale == pytest.approx(0.04 * whole, rel=0.2)


# -- precision and recall ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [*made_up.NOISES])
def test_how_small_a_change_is_found_and_that_nothing_else_is(noise: str) -> None:
    told = made_up.measure(1, [noise], each=10)
    assert made_up.misses(told) == []
    hits = [one for one in told if one.found]
    assert len(hits) > 40
    assert all(one.off < SAME / one.planted.size + 0.25 for one in hits)


def test_the_judge_finds_what_is_wrong(tmp_path: Path) -> None:
    """A change that is elsewhere than it is said to be is one that was not found, and a finding of what is not."""
    random = np.random.default_rng(1)
    base = made_up.phase(random, "one")
    true = Planted("one", 0.05, CELLS[0], round(0.05 * sum(made_up.costs(base).values())))
    guests = {spec: [made_up.run(random, [base], "gaussian", mine) for _ in range(2)]
              for spec, mine in ((BASE, ()), (OTHER, [true]))}  # fmt: skip
    pair = compare(written(tmp_path, guests), BASE, []).pairs[0]
    (right,) = made_up.judge(pair, "gaussian", [true])
    assert (right.found, right.first, right.others) == (True, True, 0)
    (wrong,) = made_up.judge(pair, "gaussian", [replace(true, cell=CELLS[7])])
    assert (wrong.found, wrong.first, wrong.others) == (False, False, 1)
    (nothing,) = made_up.judge(pair, "gaussian", [replace(true, size=0.0)])
    assert (nothing.found, nothing.others) == (False, 1)
    assert made_up.misses([right]) == []
    assert made_up.misses([wrong, nothing]) == [
        "gaussian, 5 %: 0 of 1 found, at least 100 %",
        "gaussian: 2 findings of what nobody planted, beside 0 of changes",
    ]
    assert made_up.misses([replace(right, first=False)]) == ["gaussian: 1 changes were found behind something else"]
    told = made_up.table([right, wrong, nothing]).splitlines()
    assert told[1].split() == ["gaussian", "0", "%", "1", "-", "-", "0", "%", "-"]
    assert told[-1].split()[:10] == ["gaussian", "5", "%", "2", "50", "%", "100", "%", "50", "%"]


def test_made_up_runs_are_whole(tmp_path: Path) -> None:
    from analysis.verify import verify

    (one, *_) = written(tmp_path, made(3, "gaussian", [0.01, -0.05, 0.3]))
    assert [check for check in verify(one) if not check.ok] == []
