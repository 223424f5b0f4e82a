"""How the costs of phases are put together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import bench


def test_cpu_time_from_begin_to_end(tmp_path: Path) -> None:
    points = [[7, 0, 0, 0], [7, 5, 0, 0], [9, 5, 0, 0], [9, 8, 0, 0]]
    vcpu = {"points": points, "cpu_ns": [1_000_000, 3_500_000, 9_000_000, 9_250_000], "lost_events": 0}
    (tmp_path / "summary.json").write_text(json.dumps({"vcpus": [vcpu]}))
    assert bench.times(tmp_path / "summary.json") == {7: 2.5, 9: 0.25}


def test_each_phase_has_its_own_minimum() -> None:
    rounds = [{"one": 3.0, "two": 7.0, "once": 1.0}, {"one": 4.0, "two": 6.0}]
    assert bench.least(rounds) == {"one": 3.0, "two": 6.0}


def test_short_phases_are_one_row_by_what_they_take_without_the_probe() -> None:
    marks = {"long": 20.0, "short": 1.0, "shorter": 0.5}
    others = {mode: {"long": 20.0 * times, "short": 9.0, "shorter": 6.0} for times, mode in enumerate(bench.LIMITS, 1)}
    table = bench.ratios({"marks": marks, **others})
    assert table == {
        "long": {"marks": 20.0, "block": 1.0, "exact": 2.0, "stacks": 3.0},
        bench.SHORT: {"marks": 1.5, "block": 10.0, "exact": 10.0, "stacks": 10.0},
        bench.ALL: {"marks": 21.5, "block": 35 / 21.5, "exact": 55 / 21.5, "stacks": 75 / 21.5},
    }


@pytest.mark.parametrize(("times", "said"), [(1.30, []), (1.31, ["one, block: 1.31x, at most 1.3x"])])
def test_what_is_beyond_its_limit(times: float, said: list[str]) -> None:
    assert bench.missed({"one": {"marks": 9.0, "block": times, "exact": 1.8, "stacks": 3.0}}) == said
