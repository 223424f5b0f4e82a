"""Differences of apps, foretold by ``predict`` from the tour, against those that were measured.

Two tables.  *Switches* of Linux, live: every row of ``causes.toml`` that is one boot parameter of the plain kernel,
with no exception, in every app of ``APPS``.  *Kernels*, from the recordings that come with weaklink: what the app asks
of a kernel and the tour's like phases do too, and nothing else of the app.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from analysis.ledger import Cost
from analysis.statistics import SAME, Change, spread
from probes import archive, recording
from probes.recording import Recording
from profiler import recorded
from profiler.cli.run import record
from profiler.plan import Run, parse_guests, parse_seeds
from profiler.subject import Known
from tests.truth.causes import Cause
from tests.truth.predict import measured, predict
from tests.truth.run import OPTIONS, NotRecorded

if TYPE_CHECKING:
    import pandas as pd

WITHIN: Final = 0.1
"""A foretold difference may be off by this share of the measured one."""
BASE: Final = "linux"
UNITS: Final = "tour"
APPS: Final = {"sqlite": (), "crowd": tuple(f"server-{load}" for load in (1, 2, 4, 8, 16, 24, 32, 64))}
"""What is foretold, and the phases of it; () is all."""
UNIT_SEEDS: Final = "4"
APP_SEEDS: Final = "2"
_GOLDEN: Final = Path(__file__).resolve().parents[1] / "golden"
_OURS: Final = "planted_"  # what runs in the app, and not in the kernel
KERNELS: Final = (
    ("crowd", "mutex-", ("mutex-contended",), ("freebsd", "osv:libc")),
    ("crowd", "herd-", ("shared-poll",), ("freebsd", "osv:libc")),
    ("crowd", "server-", ("tcp-pingpong",), ("freebsd", "osv:libc")),
    ("sqlite", "", ("file-create", "file-tree", "file-write", "file-read"), ("freebsd", "osv:libc")),
    ("redis", "", ("tcp-pingpong", "epoll-100"), ("osv:glibc",)),
)
"""App, what its phases begin with, those of the tour that ask for the like, and the guests held against Linux."""


@dataclass(frozen=True)
class Foretold:
    """One difference, over all ops of all phases: ``miss`` says what is wrong; "" is right."""

    app: str
    what: str
    cost: Cost
    change: Change | None
    predicted: float
    plain: float
    asked: float
    known: float
    miss: str


def switches(causes: Sequence[Cause]) -> list[Cause]:
    """Give the causes that are one boot parameter of the plain kernel, and what comes with it."""
    return [one for one in causes
            if one.base == BASE and one.app == UNITS and not one.other.startswith(f"{BASE}+{_OURS}")]  # fmt: skip


def measure(causes: Sequence[Cause], out: Path) -> None:
    """Record the tour and the apps on all guests.  What is recorded already and still holds is kept."""
    guests = ",".join(dict.fromkeys([BASE, *(one.other for one in causes)]))
    record(Known(UNITS, []), guests, UNIT_SEEDS, out, OPTIONS)
    for app, phases in APPS.items():
        record(Known(app, list(phases)), guests, APP_SEEDS, out, OPTIONS)


def of_switch(cause: Cause, app: str, out: Path) -> Foretold:
    """Foretell what a switch costs an app, in the cost that its row of ``causes.toml`` names first."""
    cost = cause.hit[0].cost
    try:
        units = [_recordings(UNITS, spec, UNIT_SEEDS, out) for spec in (BASE, cause.other)]
        sides = [_recordings(app, spec, APP_SEEDS, out) for spec in (BASE, cause.other)]
    except NotRecorded as reason:
        return Foretold(app, cause.name, cost, None, 0.0, 0.0, 0.0, 0.0, str(reason))
    return foretell(app, cause.name, units, sides, cost)


def foretell(app: str, what: str, units: Sequence[Sequence[Recording]], sides: Sequence[Sequence[Recording]],
             cost: Cost) -> Foretold:  # fmt: skip
    """Foretell a difference of an app from the units on both guests, and hold it against both sides of the app."""
    told = predict(*units, sides[0], cost)
    change = _change(*(measured(side, cost) for side in sides))
    foreseen = float(told.operations["predicted"].sum())
    return Foretold(
        app, what, cost, change, foreseen, float(told.operations["plain"].sum()), told.asked, told.known,
        wrong(change, foreseen),
    )  # fmt: skip


def of_kernels(app: str, prefix: str, learn: Sequence[str], other: str) -> Foretold:
    """Foretell what an app's calls cost on another kernel, of the operations that like phases of the tour ask for."""
    units = [_kept(UNITS, spec) for spec in (BASE, other)]
    sides = [_kept(app, spec) for spec in (BASE, other)]
    names = [phase["name"] for phase in sides[0][0].manifest["app"]["phases"]]
    apply = [name for name in names if name.startswith(prefix)]
    told = predict(*units, sides[0], "instructions", learn=learn, apply=apply)
    asked = told.operations[told.operations["asked"]]
    tables = [measured(side, "instructions", apply) for side in sides]
    change = _change(*(table[table.index.isin(asked.index)] for table in tables))
    foreseen = float(asked["plain"].sum())
    return Foretold(
        f"{app} {prefix}".strip(" -"), f"{other}, from {', '.join(learn)}", "instructions", change, foreseen, foreseen,
        told.asked, told.known, wrong(change, foreseen),
    )  # fmt: skip


def wrong(change: Change, foreseen: float) -> str:
    """Say what is wrong with a foretold difference; "" if nothing is."""
    if change.verdict != "differs":
        floor = max(change.noise, SAME * max(change.base.mean, change.other.mean))
        return "" if abs(foreseen) <= floor else "foretold, and nothing is there that seeds do not move"
    off = foreseen / change.delta - 1
    return "" if abs(off) <= WITHIN else f"off by {100 * off:+.0f} %"


def _change(*tables: pd.DataFrame) -> Change:
    return Change(*(spread(table.sum().tolist(), table.shape[1]) for table in tables))


def _recordings(app: str, spec: str, seeds: str, out: Path) -> list[Recording]:
    (guest,) = parse_guests(spec)
    places = [Run(app, guest, seed).directory(out) for seed in parse_seeds(seeds)]
    if lacking := [place for place in places if not (place / recording.MANIFEST).exists()]:
        raise NotRecorded(f"{app} on {spec} has no recording of seed {lacking[0].name.removeprefix('seed-')}")
    return [recording.read(place) for place in places]


@cache
def _archive(app: str) -> tuple[Recording, ...]:
    return tuple(archive.read(recorded.archives().get(app) or _GOLDEN / f"{app}.recordings"))


def _kept(app: str, spec: str) -> list[Recording]:
    return [one for one in _archive(app) if one.spec == spec]


def table(told: Sequence[Foretold], first: str) -> str:
    """Give a line for each difference: ``asked`` and ``known`` are shares of the app's instructions on the base."""
    head = ("app", first, "on linux", "measured", "", "foretold", "off", "by calls", "asked", "known", "")
    lines = [head, *(_line(one) for one in told)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) if at in (0, 1, 10) else cell.rjust(width)
                  for at, (cell, width) in enumerate(zip(line, widths, strict=True))).rstrip()
        for line in lines
    )  # fmt: skip


def _line(one: Foretold) -> tuple[str, ...]:
    if one.change is None:
        return one.app, one.what, "", "", "", "", "", "", "", "", f"MISS: {one.miss}"
    unit = " B" if one.cost == "rep_bytes" else ""
    sure = one.change.verdict == "differs"
    off = f"{100 * (one.predicted / one.change.delta - 1):+.1f} %" if sure else ""
    return (
        one.app, one.what, f"{one.change.base.mean:,.0f}{unit}", f"{one.change.delta:+,.0f}",
        f"{100 * one.change.delta / one.change.base.mean:+.2f} %", f"{one.predicted:+,.0f}", off, f"{one.plain:+,.0f}",
        f"{100 * one.asked:.0f} %", f"{100 * one.known:.0f} %",
        f"MISS: {one.miss}" if one.miss else "right" if sure else "right: nothing",
    )  # fmt: skip
