"""Phases that do the same with more and more threads or connections, as curves: what a further one costs.

On one vCPU nothing runs at the same time, so throughput itself says nothing of scaling.  What is taken is *throughput
by work alone*, N / (instructions per op): what N threads with a CPU each could do if none waited for another and caches
cost nothing.  It is an upper bound, which grows less where the work of an op grows with N.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np

from analysis import columns
from analysis.comparable import ASIDE, check_comparable, scope
from analysis.crossover import lead
from analysis.ledger import LEFT_OUT
from analysis.scaling import Scaling, fit
from analysis.statistics import Spread, spread
from analysis.vcpus import statistical
from probes.recording import Recording
from profiler.errors import NotComparable, NothingToShow, RecordingInvalid

PER: Final = 1e6
"""Throughput is in ops per so many instructions."""
MOST: Final = 1_000_000
"""The largest load that is believed."""


@dataclass(frozen=True)
class Curve:
    """One guest in a series: instructions per op at each load, over seeds; the law, or why there is none."""

    guest: str
    costs: Mapping[int, Spread]
    law: Scaling | None
    refused: str
    missing: Mapping[int, str]  # loads without a figure, and why

    def throughput(self, load: int) -> float:
        """By work alone: ops per PER instructions."""
        return PER * load / self.costs[load].mean


@dataclass(frozen=True)
class Series:
    """Curves over the same loads of ``unit``, and sentences on who is ahead of whom."""

    name: str
    unit: str
    op: str
    loads: tuple[int, ...]
    curves: tuple[Curve, ...]
    leads: tuple[str, ...]


def series(recordings: Sequence[Recording]) -> tuple[list[Series], list[str]]:
    """The series of some recordings of one app, in the app's order, and sentences on what is compared.

    Raises NothingToShow if the app has no series, NotComparable if the recordings must not be compared or have several
    vCPUs.
    """
    if any(statistical(one.manifest) for one in recordings):
        raise NotComparable("these recordings have several vCPUs, whose scaling is not measured here",
                            hint="record with one vCPU: work per op is what is compared")  # fmt: skip
    check_comparable(recordings)
    firsts = {one.spec: one for one in reversed(recordings)}
    found = scope(dict(sorted(firsts.items())))
    guests = list(dict.fromkeys(one.spec for one in recordings))
    costs = {spec: _costs([one for one in recordings if one.spec == spec], aside=found.aside) for spec in guests}
    declared = {
        phase["number"]: phase for one in recordings for phase in one.manifest["app"]["phases"] if "scales" in phase
    }
    if wrong := [one["scales"]["load"] for one in declared.values() if not 1 <= one["scales"]["load"] <= MOST]:
        raise RecordingInvalid(
            f"a phase says that it has a load of {str(wrong[0])[:20]}", hint="loads are 1 to 1,000,000"
        )
    if not declared:
        raise NothingToShow(
            "no phase of this app is one of a series", hint="weaklink run crowd has some: docs/scaling.md"
        )
    made = []
    for name in dict.fromkeys(phase["scales"]["series"] for phase in declared.values()):
        phases = {phase["scales"]["load"]: number for number, phase in sorted(declared.items())
                  if phase["scales"]["series"] == name}  # fmt: skip
        first = declared[next(iter(phases.values()))]
        made.append(_series(name, first["scales"]["unit"], first["op"], dict(sorted(phases.items())), costs))
    notes = [f"{found.why[0].upper()}{found.why[1:]}."] if found.aside else []
    return made, notes


def _series(name: str, unit: str, op: str, phases: Mapping[int, int],
            costs: Mapping[str, Mapping[int, Spread | str]]) -> Series:  # fmt: skip
    curves = []
    for guest, of_phase in costs.items():
        known: dict[int, Spread] = {}
        missing: dict[int, str] = {}
        for load, number in phases.items():
            cost = of_phase.get(number, "not recorded")
            if isinstance(cost, Spread):
                known[load] = cost
            else:
                missing[load] = cost
        law, refused = None, ""
        try:
            law = fit([(load, PER * load / cost.mean) for load, cost in known.items()], unit)
        except NotComparable as why:
            refused = str(why)
        curves.append(Curve(guest, known, law, refused, missing))
    leads = [said for one, other in combinations(curves, 2) if (said := _ahead(one, other, unit))]
    return Series(name, unit, op, tuple(phases), tuple(curves), tuple(leads))


def _ahead(one: Curve, other: Curve, unit: str) -> str:
    """Who of two guests is ahead where: by their laws, else by the points, of which nothing between them is known."""
    names = (one.guest, other.guest)
    if one.law and other.law:
        found = lead(one.law, other.law)
        return found.said(names, unit) if found else ""
    loads = sorted(one.costs.keys() & other.costs.keys())
    runs: list[tuple[str, list[int]]] = []
    for load in loads:
        mine, theirs = one.costs[load], other.costs[load]
        who = names[0] if mine.high < theirs.low else names[1] if theirs.high < mine.low else "neither"
        if not runs or runs[-1][0] != who:
            runs.append((who, []))
        runs[-1][1].append(load)
    said = [f"{who} at {some[0]}" if len(some) == 1 else f"{who} from {some[0]} to {some[-1]}" for who, some in runs]
    return f"{names[0]} and {names[1]}, by the points alone: ahead is {', '.join(said)} {unit}." if said else ""


def _costs(recordings: Sequence[Recording], *, aside: bool) -> dict[int, Spread | str]:
    """Instructions per op of each phase of one guest, or why there are none; what is the emulator's is left out."""
    rows = columns.read(recordings, "ledger", ["phase", "layer", "instructions"])
    rows = rows.where(~rows.coded("layer", (*LEFT_OUT, *(ASIDE if aside else ()))))
    size = int(rows.values["phase"].max(initial=0)) + 1
    sums = rows.sums("instructions", rows.values["phase"], size, len(recordings))
    found: dict[int, list[float]] = {}
    why: dict[int, str] = {}
    for place, one in enumerate(recordings):
        for number, status, reason, ops in columns.phases(one, ("number", "status", "reason", "ops")):
            if status == "ok" and ops:
                found.setdefault(number, []).append(float(sums[number, place]) / ops)
            else:
                why[number] = f"{status}{f': {reason}' if reason else ''}"
    # Runs that are the same are one run.
    return {**why, **{number: spread(np.unique(values).tolist(), len(values)) for number, values in found.items()}}
