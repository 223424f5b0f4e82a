"""Phases over more and more threads: their table, their law, and what is said of what is not there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.series import Series, series
from analysis.views import scaling as view
from images import apps
from probes import recording
from profiler.cli.main import main
from profiler.errors import NotComparable, NothingToShow, RecordingInvalid
from tests import synthetic

LOADS = (1, 2, 3, 4, 6, 8, 12, 16)


def growing(rate: float, sigma: float, kappa: float) -> Callable[[int], float]:
    """Instructions per op of a guest whose throughput by work alone is the law's."""
    return lambda load: rate * (1 + sigma * (load - 1) + kappa * load * (load - 1))


def write(root: Path, spec: str, cost: Callable[[int], float], seed: int = 1, missing: int | None = None,
          build: str = "ab" * 32, **changes: Any) -> None:  # fmt: skip
    """A recording whose phases cost so much in the kernel, a little in the app, and as much again in the emulator."""
    phases = [
        synthetic.Phase(
            f"herd-{load}", 100, {}, {("read", "vfs", "vfs_read"): round(cost(load)), ("user", "user", "main"): 50,
                                      ("read", "emulation", "hpet"): round(cost(load))},
            status="ok" if load != missing else "unsupported", reason="" if load != missing else "poll: nothing",
        )
        for load in LOADS
    ]  # fmt: skip
    made = synthetic.manifest(spec, seed, phases, **changes)
    made["app"]["sha256"] = build
    for phase, load in zip(made["app"]["phases"], LOADS, strict=True):
        phase |= {"op": "event", "scales": {"series": "herd", "unit": "threads", "load": load}}
    tables = synthetic.tables(phases, seed)
    recording.write(root / "crowd" / spec.replace(":", "%3a") / f"seed-{seed}", made, tables, b"")


def of(root: Path) -> tuple[Series, list[str]]:
    (found,), notes = series([recording.read(place) for place in recording.find(root)])
    return found, notes


def test_the_law_is_that_of_the_work(tmp_path: Path) -> None:
    write(tmp_path, "linux", growing(10_000, 0.2, 0.01))
    found, notes = of(tmp_path)
    assert notes == []
    (curve,) = found.curves
    assert curve.costs[4].mean == pytest.approx(10_000 * (1 + 0.6 + 0.12) + 50, rel=1e-9), "without the emulator's"
    assert curve.throughput(4) == pytest.approx(4e6 / curve.costs[4].mean)
    assert curve.law is not None
    assert curve.law.kappa.value == pytest.approx(0.01, rel=0.01)
    assert curve.law.sigma.value == pytest.approx(0.2, rel=0.01)
    said = list(view.text([found], notes))
    assert max(map(len, said)) <= 81
    assert said[:3] == ["herd: instructions per event, by threads\n", "threads           linux\n",
                        "1                10,050\n"]  # fmt: skip
    assert any(line.startswith("linux: sigma 0.199 [") for line in said)
    assert "vCPUs has not been measured" in " ".join(said)


def test_other_builds_are_compared_in_the_kernel(tmp_path: Path) -> None:
    write(tmp_path, "linux", growing(10_000, 0.2, 0.01))
    write(tmp_path, "osv:libc", growing(9_000, 0.1, 0.02), build="cd" * 32)
    found, (note,) = of(tmp_path)
    assert note.startswith("Layers user and libc are left out")
    assert found.curves[0].costs[1].mean == 10_000
    (said,) = found.leads
    # 10,000 (1 + 0.2 (N - 1) + 0.01 N (N - 1)) is 9,000 (1 + 0.1 (N - 1) + 0.02 N (N - 1)) at N = 14.6.
    crossing = max(np.roots([0.08, -1.18, 0.1]))
    assert said.startswith(f"osv:libc is ahead until N = {crossing:.3g} [")
    assert said.endswith(", then linux (measured from 1 to 16 threads).")


def test_what_is_refused_is_shown_with_the_reason(tmp_path: Path) -> None:
    write(tmp_path, "linux", growing(10_000, 0.5, 0.0))
    write(tmp_path, "freebsd", growing(9_000, 0.1, 0.02))
    found, notes = of(tmp_path)
    (said,) = found.leads
    # 9,000 (1 + 0.1 (N - 1) + 0.02 N (N - 1)) is below 10,000 (1 + 0.5 (N - 1)) up to N = 20.9.
    assert said == "freebsd and linux, by the points alone: ahead is freebsd from 1 to 16 threads."
    assert [curve.law is None for curve in found.curves] == [False, True]
    text = " ".join(line.strip() for line in view.text([found], notes))
    assert "linux: throughput does not bend enough from 1 to 16 threads" in text


def test_points_alone_say_who_is_ahead_where_no_law_does(tmp_path: Path) -> None:
    for seed, cost in ((1, 10_000.0), (2, 12_000.0)):
        write(tmp_path, "linux", lambda load, cost=cost: cost, seed=seed)  # type: ignore[misc]
        write(tmp_path, "freebsd", lambda load: 2_000.0 * load + 3_000, seed=seed)
    (said,) = of(tmp_path)[0].leads
    assert said.endswith("by the points alone: ahead is freebsd from 1 to 3, neither at 4, linux from 6 to 16 threads.")


def test_a_curve_that_only_falls_has_no_peak(tmp_path: Path) -> None:
    write(tmp_path, "linux", growing(10_000, 1.4, 0.1))
    found, notes = of(tmp_path)
    assert "no peak: one thread more makes an op dearer" in " ".join(map(str.strip, view.text([found], notes)))


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    write(tmp_path, "linux", growing(10_000, 0.2, 0.01), missing=3)
    found, notes = of(tmp_path)
    (curve,) = found.curves
    assert curve.missing == {3: "unsupported: poll: nothing"}
    assert 3 not in curve.costs
    assert curve.law is not None
    said = list(view.text([found], notes))
    assert "3                     -\n" in said
    assert "  at 3: unsupported: poll: nothing\n" in said


def test_seeds_are_averaged_and_are_no_points(tmp_path: Path) -> None:
    for seed, rate in ((1, 10_000), (2, 11_000), (3, 11_000)):
        write(tmp_path, "linux", growing(rate, 0.2, 0.01), seed=seed)
    (curve,) = of(tmp_path)[0].curves
    assert (curve.costs[1].runs, curve.costs[1].seeds) == (2, 3)
    assert curve.costs[1].mean == 10_550
    assert curve.law is not None
    assert curve.law.freedom == len(LOADS) - 3


def test_several_vcpus_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "linux", growing(10_000, 0.2, 0.01), probe={"statistical": True})
    with pytest.raises(NotComparable, match="several vCPUs"):
        of(tmp_path)


@pytest.mark.parametrize(
    ("load", "said"), [(0, "has a load of"), (-3, "has a load of"), (10**400, "not a number of 64 bits")]
)
def test_a_load_that_cannot_be_is_refused(tmp_path: Path, load: int, said: str) -> None:
    write(tmp_path, "linux", growing(10_000, 0.2, 0.01))
    (place,) = recording.find(tmp_path)
    text = (place / "manifest.json").read_text(encoding="utf-8")
    (place / "manifest.json").write_text(text.replace('"load": 16', f'"load": {load}'), encoding="utf-8")
    (place / recording.SUMS).unlink()
    with pytest.raises(RecordingInvalid, match=said):
        of(tmp_path)


def test_an_app_without_series_says_so(tmp_path: Path) -> None:
    synthetic.record(tmp_path, "linux", synthetic.tour())
    with pytest.raises(NothingToShow, match="one of a series"):
        of(tmp_path)


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, "linux", growing(10_000, 0.2, 0.01))
    write(tmp_path, "freebsd", growing(12_000, 0.2, 0.01))
    assert main(["scale", str(tmp_path)]) == 0
    assert "freebsd is ahead" not in (said := capsys.readouterr().out)
    assert "linux is ahead at all numbers" in said
    assert main(["scale", str(tmp_path), "--format", "json"]) == 0
    (herd,) = json.loads(capsys.readouterr().out)["series"]
    assert [guest["guest"] for guest in herd["guests"]] == ["freebsd", "linux"]
    assert [point["load"] for point in herd["guests"][0]["points"]] == list(LOADS)
    assert herd["guests"][0]["law"]["kappa"][0] == pytest.approx(0.01, rel=0.01)


def test_the_crowd_has_series_over_enough_loads() -> None:
    phases = apps.load("crowd").phases
    loads: dict[str, list[int]] = {}
    for phase in phases:
        assert phase.scales is not None
        assert phase.name == f"{phase.scales.series}-{phase.scales.load}"
        loads.setdefault(phase.scales.series, []).append(phase.scales.load)
    assert {name: len(some) for name, some in loads.items()} == {"mutex": 8, "herd": 8, "server": 8}
    assert all(some == sorted(set(some)) for some in loads.values())


def test_a_load_below_one_is_the_apps_fault(tmp_path: Path) -> None:
    text = (apps.load("crowd").folder / "app.toml").read_text(encoding="utf-8")
    (tmp_path / "app.toml").write_text(text.replace("load = 2 ", "load = 0 ", 1), encoding="utf-8")
    with pytest.raises(Exception, match=r":19: phase\[0\]\.scales\.load: must be an integer from 1"):
        apps.read(tmp_path)
