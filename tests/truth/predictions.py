"""Differences of apps, foretold from the tour, against those that were measured.

Two tables.  *Switches* of Linux, live: every row of ``causes.toml`` that is one boot parameter of the plain kernel,
with no exception, in every app of ``APPS``, on every kernel of ``BASES``.  *Kernels*: from the recordings that come
with weaklink, and live on some guests more where they are (``MORE``), every app on every guest against every other.

What is foretold is decided without how much the app costs on the other guest (``predict``): by what it enters there,
and by how its instructions are divided there between functions that the tour knows and others.  The rest of the app is
in no sum, and a difference that is not foretold is neither right nor wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING, Final

from analysis.ledger import Cost
from analysis.statistics import SAME, Change, spread
from probes import archive
from probes.recording import Recording
from profiler import recorded
from tests.truth.causes import Cause
from tests.truth.cells import measured
from tests.truth.predict import Prediction, predict
from tests.truth.run import NotRecorded, Wanted, recordings, side_by_side

if TYPE_CHECKING:
    import pandas as pd

WITHIN: Final = 0.1
"""A foretold difference may be off by this share of the measured one."""
LEFT: Final = 0.5
"""If less of what the app costs on the base can be foretold on a kernel that is alike, nothing is."""
OVERLAP: Final = 0.05
"""The same on another kernel: where less of an app than this is near to the tour, they do not overlap."""
ENOUGH: Final = 6
"""So many different switches must be right in each app, by a difference that is there."""
BASES: Final = ("linux", "linux-6.12")
UNITS: Final = Wanted("tour", (), "4")
APPS: Final = (
    Wanted("sqlite", (), "2"),
    Wanted("crowd", tuple(f"server-{load}" for load in (1, 2, 4, 8, 16, 24, 32, 64)), "2"),
)
"""What is foretold: phases (none: all), and seeds."""
KEPT: Final = ("crowd", "redis", "sqlite")
MORE: Final[Mapping[str, Sequence[Wanted]]] = {
    "osv:static": (Wanted("crowd", (), "2"),), "osv:glibc": (Wanted("crowd", (), "2"),), BASES[1]: (UNITS, *APPS),
}  # fmt: skip
"""What no recordings come with weaklink of."""
_GOLDEN: Final = Path(__file__).resolve().parents[1] / "golden"
_OURS: Final = "planted_"  # what runs in the app, and not in the kernel


@dataclass(frozen=True)
class Foretold:
    """One difference of what can be foretold of an app: ``miss`` says what is wrong, ``open`` why it is not judged."""

    app: str
    what: str
    cost: Cost = "instructions"
    change: Change | None = None
    predicted: float = 0.0
    by_units: float | None = None  # the share of what is foretold that is unit costs of the tour, if kernels are alike
    left: float = 0.0  # the share of the app's cost on the base that is foretold
    whole: Change | None = None  # of all that the app does
    rest: tuple[tuple[str, float, float], ...] = ()  # operations not foretold: shares of the app's cost, and known
    miss: str = ""
    open: str = ""

    @property
    def right(self) -> bool:
        """Whether a difference that is there was foretold."""
        return self.change is not None and self.change.verdict == "differs" and not self.miss and not self.open


def switches(causes: Sequence[Cause], base: str = BASES[0]) -> list[tuple[str, str, Cost]]:
    """Give the name, the guest and the cost of causes that are one boot parameter of the plain kernel, on ``base``."""
    plain = BASES[0]
    return [(one.name, base + one.other.removeprefix(plain), one.hit[0].cost) for one in causes
            if one.base == plain and one.app == UNITS.app and not one.other.startswith(f"{plain}+{_OURS}")]  # fmt: skip


def measure(causes: Sequence[Cause], bases: Sequence[str], more: Sequence[str], out: Path, jobs: int) -> None:
    """Record the tour and the apps on all guests.  What is recorded already and still holds is kept."""
    guests = [guest for base in bases for guest in (base, *(other for _, other, _ in switches(causes, base)))]
    side_by_side({**dict.fromkeys(guests, (UNITS, *APPS)), **{one: MORE[one] for one in more}}, out, jobs)


def of_switches(causes: Sequence[Cause], base: str, out: Path) -> list[Foretold]:
    """Foretell what switches cost the apps, each in the cost that its row of ``causes.toml`` names first."""
    return [
        of_guests(app, name, base, other, cost, out) for app in APPS for name, other, cost in switches(causes, base)
    ]


def of_guests(app: Wanted, what: str, base: str, other: str, cost: Cost, out: Path) -> Foretold:
    """Foretell what an app costs more on another guest with the same functions."""
    try:
        units, sides = ([recordings(one, spec, out) for spec in (base, other)] for one in (UNITS, app))
    except NotRecorded as reason:
        return Foretold(app.app, what, cost, miss=str(reason))
    return foretell(app.app, what, units, sides, cost)


def of_kernels(more: Sequence[str], out: Path) -> Iterator[Foretold]:
    """Foretell what each app that comes with weaklink costs on every guest, from every other.

    ``more`` are guests of ``MORE`` that were recorded.  Raises ``NotRecorded``.
    """

    def sides(app: str) -> dict[str, list[Recording]]:
        live = [(spec, one) for spec in more for one in MORE[spec] if one.app == app]
        return {**_kept(app), **{spec: recordings(one, spec, out) for spec, one in live}}

    units = sides(UNITS.app)
    for app in KEPT:
        runs = sides(app)
        for base, other in permutations([spec for spec in runs if spec in units], 2):
            known, both = ([each[spec] for spec in (base, other)] for each in (units, runs))
            yield replace(foretell(app, f"{other} from {base}", known, both, "instructions"), rest=())


def foretell(app: str, what: str, units: Sequence[Sequence[Recording]], sides: Sequence[Sequence[Recording]],
             cost: Cost) -> Foretold:  # fmt: skip
    """Foretell a difference of an app from the units on both guests, and hold it against both sides of the app."""
    told = predict(units, sides, cost)
    tables = [measured(side, cost) for side in sides]
    change = _change(*(one[one.index.isin(told.foretold.index)] for one in tables))
    whole = _change(*tables)
    sums = told.foretold[["cost", "predicted", "counts"]].sum()
    foreseen = float(sums["predicted"] - sums["cost"])
    counted = float(sums["counts"] - sums["cost"])
    left = change.base.mean / whole.base.mean if whole.base.mean else 0.0
    shut = not_foretold(change.base.mean, foreseen, told.unsure, left, LEFT if told.alike else OVERLAP)
    by_units = 1 - counted / foreseen if told.alike and foreseen else None
    return Foretold(app, what, cost, change, foreseen, by_units, left, whole, tuple(_rest(told)),
                    "" if shut else wrong(change, foreseen), shut)  # fmt: skip


def _rest(told: Prediction) -> Iterator[tuple[str, float, float]]:
    """Give each operation that is not foretold in some phase, with its share of all instructions, and what is known."""
    rest = told.operations[~told.operations["foretold"]]
    rows = rest.assign(known=rest["known"] * rest["instructions"]).groupby("operation")[["instructions", "known"]].sum()
    for operation, (instructions, known) in rows.sort_values("instructions", ascending=False).iterrows():
        yield str(operation), instructions / told.operations["instructions"].sum(), known / max(instructions, 1.0)


def not_foretold(base: float, foreseen: float, unsure: float, left: float, least: float) -> str:
    """Say why a difference is not judged, from what is known before it is measured; "" if it is."""
    if left < least:
        return f"of {100 * left:.0f} % at most"
    nothing = abs(foreseen) + unsure <= SAME * base
    return "" if nothing or WITHIN * abs(foreseen) >= unsure else f"sure to ±{unsure:,.0f}"


def wrong(change: Change, foreseen: float) -> str:
    """Say what is wrong with a foretold difference; "" if nothing is."""
    if change.verdict != "differs":
        floor = max(change.noise, SAME * max(change.base.mean, change.other.mean))
        return "" if abs(foreseen) <= floor else "foretold, and nothing is there that seeds do not move"
    off = foreseen / change.delta - 1
    return "" if abs(off) <= WITHIN else f"off by {100 * off:+.0f} %"


def too_few(told: Sequence[Foretold]) -> str:
    """Say of which apps fewer than ``ENOUGH`` different switches are right; "" if of none."""
    counts = {app: len({one.what for one in told if one.app == app and one.right})
              for app in dict.fromkeys(one.app for one in told)}  # fmt: skip
    return "; ".join(f"{app}: only {count} switches" for app, count in counts.items() if count < ENOUGH)


def _change(*tables: pd.DataFrame) -> Change:
    return Change(*(spread(table.sum().tolist(), table.shape[1]) for table in tables))


@cache
def _archive(app: str) -> tuple[Recording, ...]:
    return tuple(archive.read(recorded.archives().get(app) or _GOLDEN / f"{app}.recordings"))


def _kept(app: str) -> dict[str, list[Recording]]:
    """Of each guest the recordings of an app that come with weaklink."""
    found: dict[str, list[Recording]] = {}
    for one in _archive(app):
        found.setdefault(one.spec, []).append(one)
    return found


def table(told: Sequence[Foretold], first: str) -> str:
    """Give a line for each difference, and below it how many are not judged, and what of each app is not foretold.

    ``units`` says how much of what is foretold is what an entry costs more in the tour; the rest is in what the app
    enters more or less often.  ``of cost`` and ``of all`` say how much of what the app costs on the base, and of its
    whole difference, is foretold.
    """
    head = ("app", first, "on base", "measured", "", "foretold", "units", "off", "of cost", "of all", "")
    lines = [head, *(_line(one) for one in told)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = ["  ".join(cell.ljust(width) if at in (0, 1, 10) else cell.rjust(width)
                        for at, (cell, width) in enumerate(zip(line, widths, strict=True))).rstrip()
              for line in lines]  # fmt: skip
    counts = {"right": sum(one.right for one in told), "missed": sum(bool(one.miss) for one in told),
              "not foretold": sum(bool(one.open) for one in told)}  # fmt: skip
    nothing = len(told) - sum(counts.values())
    summed = [
        ", ".join(f"{count} {name}" for name, count in {**counts, "right that there is nothing": nothing}.items())
    ]
    rests = {one.app: one.rest for one in told if one.rest}
    for app, rest in rests.items():
        said = [f"{operation} {100 * share:.1f} % (known: {100 * known:.0f} %)" for operation, share, known in rest]
        summed.append(f"{app}, not foretold: {', '.join(said)}")
    return "\n".join([*padded, "", *summed])


def _line(one: Foretold) -> tuple[str, ...]:
    if one.change is None or one.whole is None:
        return one.app, one.what, "", "", "", "", "", "", "", "", f"MISS: {one.miss}"
    unit = " B" if one.cost == "rep_bytes" else ""
    sure = one.change.verdict == "differs"
    share = f"{100 * one.change.delta / one.change.base.mean:+.2f} %" if one.change.base.mean else ""
    said = f"MISS: {one.miss}" if one.miss else f"not foretold: {one.open}" if one.open else "right"
    return (
        one.app, one.what, f"{one.change.base.mean:,.0f}{unit}", f"{one.change.delta:+,.0f}",
        share, f"{one.predicted:+,.0f}", "" if one.by_units is None else f"{100 * one.by_units:.0f} %",
        f"{100 * (one.predicted / one.change.delta - 1):+.1f} %" if sure else "", f"{100 * one.left:.0f} %",
        f"{100 * one.change.delta / one.whole.delta:.0f} %" if one.whole.verdict == "differs" else "",
        said if sure or said != "right" else "right: nothing",
    )  # fmt: skip
