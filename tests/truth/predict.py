"""What one app says of another: unit costs measured in one, times what the other does.

The difference between two guests is measured in an app that asks for many things (the *units*: ``tour``), and counts
are those of another app, recorded on the base guest alone.  A call of an operation is too coarse a unit: a ``write``
may fill one page or four, wake somebody or not.  So the counts are entries of the base's functions, which a recording
has.  Each function that costs more or less on the other guest is pegged to those of the base whose entries, over all
operations of all phases of the units, go along with its difference best: itself, if it is changed; the allocator's, if
it clears each new page; the way into the kernel, if it is new and executed by every system call.  That is matching
pursuit (S. Mallat and Z. Zhang, "Matching pursuits with time-frequency dictionaries", IEEE Transactions on Signal
Processing 41, 1993) with entries as the dictionary.  What the seeds alone move as much is no difference.

``plain`` is what is left without functions: a difference per call of an operation, times its calls.  Between kernels
that have few functions in common, nothing can be pegged, and this is all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from analysis import columns
from analysis.columns import Columns
from analysis.comparable import ASIDE, check_comparable, libc_in_kernel
from analysis.ledger import DEFERRED, LEFT_OUT, Cost
from analysis.split import Floats
from probes.names import readable
from probes.recording import Recording
from profiler.errors import NotComparable

if TYPE_CHECKING:
    import pandas as pd

PEGS: Final = 4
"""Functions of the base that one difference is pegged to, at most."""
WORTH: Final = 0.02
"""A peg explains at least this share of the difference; functions that are as good up to a tenth of it are one."""
NEARLY: Final = 0.999
"""The smallest differences that make the rest of all are not pegged."""
ALIKE: Final = 0.5
"""Functions that the other guest enters too have this share of what the base executes, or it is another kernel."""
UNASKED: Final = ("interrupt", "background")
"""What comes with time, and not because the app asks for something: left out on all sides."""
_CELL: Final = ["phase", "operation"]
_FUNCTION: Final = ["layer", "function"]


@dataclass(frozen=True)
class Prediction:
    """What an app would cost more or less on the other guest, over all its phases, mean over runs; nothing is per op.

    ``operations`` has a row per (phase, operation) of the app on the base: ``calls``, ``cost``, ``instructions``,
    ``predicted`` and ``plain`` (differences), ``asked`` (whether the units call that operation, so that it enters the
    kernel), ``known`` (the part of ``instructions`` in functions that the units enter).
    """

    cost: Cost
    operations: pd.DataFrame
    pegs: tuple[Peg, ...]  # largest part of the units' difference first

    @property
    def asked(self) -> float:
        """The share of the app's instructions under operations that the units ask for too."""
        return self._share(self.operations["instructions"][self.operations["asked"]].sum())

    @property
    def known(self) -> float:
        """The share of the app's instructions in functions that the units enter."""
        return self._share(self.operations["known"].sum())

    def _share(self, part: float) -> float:
        whole = float(self.operations["instructions"].sum())
        return float(part) / whole if whole else 0.0


@dataclass(frozen=True)
class Peg:
    """The difference of one function, ``unit`` for each entry of one of the base (the median, if several go along)."""

    function: str
    to: tuple[str, ...]
    unit: float
    rows: npt.NDArray[np.intp]  # of ``to``, among the functions of the units' base


def predict(base: Sequence[Recording], other: Sequence[Recording], app: Sequence[Recording], cost: Cost,
            learn: Collection[str] = (), apply: Collection[str] = ()) -> Prediction:  # fmt: skip
    """Predict the difference of ``app``, recorded on the base guest, from that of the units, ``base`` and ``other``.

    Compared are all layers but those of the app's own build, and of the emulator; work deferred by an operation is part
    of it, and what comes with time is not (``UNASKED``).  ``learn`` and ``apply`` name the phases of the units, and of
    the app, if not all.  Raises ``NotComparable`` if the units are not, or if the app was recorded on another kernel
    than ``base``, or in another way.
    """
    import pandas as pd

    check_comparable([*base, *other])
    check_comparable(app)
    _check_same(base[0], app[0])
    phases = sorted({*_good(base, learn)} & {*_good(other, learn)})
    used = _good(app, apply)
    if not phases or not used:
        raise NotComparable("there is no phase to learn from, or none to foretell", hint="See `weaklink verify`.")
    units = _Units(base, other, phases, cost)
    pegs = units.pegs() if units.alike else ()
    of_app = _table(app, used, ["instructions", "calls", cost])
    cells = _dropped(of_app.index, _FUNCTION)
    entries = _spread(of_app["calls"], units.functions, cells)
    own = _spread(of_app[cost], units.functions, cells)
    predicted = np.zeros(len(cells))
    for peg in pegs:
        # What the other guest never executes saves what the app spends in it, whatever an entry costs elsewhere.
        saved = peg.to == (peg.function,) and units.gone[peg.rows[0]]
        predicted += -own[peg.rows[0]] if saved else peg.unit * np.median(entries[peg.rows], axis=0)
    table = of_app.groupby(_CELL).sum().reindex(cells)
    names = cells.get_level_values("operation")
    calls = _calls(app, used).mean(axis=1).reindex(cells, fill_value=0.0)
    known = _spread(of_app["instructions"], units.functions, cells)[units.entered].sum(axis=0)
    plain = units.per_call.reindex(names, fill_value=0.0).to_numpy() * calls.to_numpy()
    return Prediction(cost, pd.DataFrame({
        "calls": calls.to_numpy(), "cost": table[cost].to_numpy(), "instructions": table["instructions"].to_numpy(),
        "predicted": predicted if units.alike else plain, "plain": plain,
        "asked": names.isin(units.per_call.index), "known": known,
    }, index=cells), pegs)  # fmt: skip


class _Units:
    """The difference of the units: matrices with a row per function and a column per (phase, operation)."""

    def __init__(
        self, base: Sequence[Recording], other: Sequence[Recording], phases: Sequence[int], cost: Cost
    ) -> None:
        import pandas as pd

        sides = [_table(one, phases, ["calls"], cost) for one in (base, other)]
        both = sides[0].index.append(sides[1].index)
        functions, cells = (_dropped(both, levels).sort_values() for levels in (_CELL, _FUNCTION))
        asked = [_calls(one, phases).reindex(cells, fill_value=0.0).to_numpy().T for one in (base, other)]
        usual = asked[0].mean(axis=0)
        runs = [np.stack([_spread(side[name], functions, cells) for name in side if name != "calls"]) for side in sides]
        # How often something is asked for is no unit cost: where seeds or guests differ in that, it is made the same.
        for side, often in zip(runs, asked, strict=True):
            both_ask = (often > 0) & (usual > 0)
            side *= np.where(both_ask, usual / np.where(both_ask, often, 1.0), 1.0)[:, None, :]
        self.functions = functions
        self.entries, entries_other = (_spread(side["calls"], functions, cells) for side in sides)
        self.delta = runs[1].mean(axis=0) - runs[0].mean(axis=0)
        self.noise = np.maximum(*(np.ptp(one, axis=0) for one in runs))
        self.entered = np.flatnonzero(self.entries.sum(axis=1) > 0)
        share = runs[0].mean(axis=0).sum(axis=1)
        common = share[entries_other.sum(axis=1) > 0].sum()
        self.alike = bool(common >= ALIKE * share.sum())
        self.gone = (self.entries.sum(axis=1) > 0) & (entries_other.sum(axis=1) == 0)
        sums = pd.DataFrame({"delta": self.delta.sum(axis=0), "calls": usual, "entries": self.entries.sum(axis=0)},
                            index=cells).groupby("operation").sum()  # fmt: skip
        sums = sums[(sums["calls"] > 0) & (sums["entries"] > 0)]  # operations that enter the kernel
        self.per_call = sums["delta"] / sums["calls"]

    def pegs(self) -> tuple[Peg, ...]:
        """Peg each function that differs beyond what seeds move."""
        names = [function for _, function in self.functions.tolist()]
        sure = np.abs(self.delta) > self.noise
        sizes = np.abs(self.delta * sure).sum(axis=1)
        order = np.argsort(-sizes, kind="stable")
        enough = int(np.searchsorted(np.cumsum(sizes[order]), NEARLY * sizes.sum())) + 1
        found = []
        for row in order[: enough if sizes.any() else 0].tolist():
            for unit, rows in self._pursued(row):
                found.append(Peg(names[row], tuple(names[one] for one in rows), unit, rows))
        return tuple(found)

    def _pursued(self, row: int) -> list[tuple[float, npt.NDArray[np.intp]]]:
        left, noise = self.delta[row].copy(), self.noise[row]
        whole = now = _beyond(left, noise)
        found: list[tuple[float, npt.NDArray[np.intp]]] = []
        while len(found) < PEGS and now > WORTH * whole:
            where = np.abs(left) > noise
            near = self.entered[self.entries[np.ix_(self.entered, np.flatnonzero(where))].any(axis=1)]
            units = _units(left, self.entries[near])
            scores = _beyond(left - units[:, None] * self.entries[near], noise)
            best = min([now, *scores.tolist()])
            if now - best < WORTH * whole:
                break
            alike = near[scores <= best + WORTH / 10 * whole]
            alike = np.array([row], dtype=np.intp) if row in alike else alike
            unit = float(units[np.isin(near, alike)].mean())
            left = left - unit * np.median(self.entries[alike], axis=0)
            now = _beyond(left, noise)
            found.append((unit, alike))
        return found


def _beyond(left: Floats, noise: Floats) -> Floats:
    """How much of a difference over all cells is more than seeds move."""
    found: Floats = np.maximum(np.abs(left) - noise, 0.0).sum(axis=-1)
    return found


def _units(left: Floats, entries: Floats) -> Floats:
    """The difference per entry, for each candidate: the median over its cells, each as heavy as its entries."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(entries > 0, left / entries, np.inf)
    order = np.argsort(ratio, axis=1)
    weight = np.take_along_axis(entries, order, axis=1)
    so_far = np.cumsum(weight, axis=1)
    middle = (so_far >= so_far[:, -1:] / 2).argmax(axis=1)
    found: Floats = np.take_along_axis(ratio, order, axis=1)[np.arange(len(ratio)), middle]
    return found


def _good(recordings: Sequence[Recording], names: Collection[str]) -> list[int]:
    """The phases that are ``ok`` in all recordings, of those with some names (any, if none are given)."""
    found = [{number for number, name, status in columns.phases(one, ("number", "name", "status"))
              if status == "ok" and (not names or name in names)} for one in recordings]  # fmt: skip
    return sorted(set.intersection(*found))


def measured(recordings: Sequence[Recording], cost: Cost, phases: Collection[str] = ()) -> pd.DataFrame:
    """Give what is compared of each (phase, operation) of a guest: a column per run, nothing per op."""
    return _table(recordings, _good(recordings, phases), [], cost).groupby(_CELL).sum()


_SAME: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "guest": lambda one: str(one["guest"]["spec"]),
    "kernel": lambda one: str(one["guest"]["kernel_sha256"]),
    "QEMU version": lambda one: str(one["qemu"]["version"]),
    "CPU line": lambda one: str(one["qemu"]["cpu"]),
    "icount setting": lambda one: str(one["qemu"]["icount"]),
    "probe mode": lambda one: str(one["probe"]["mode"]),
}


def _check_same(base: Recording, app: Recording) -> None:
    for what, get in _SAME.items():
        values = get(base.manifest), get(app.manifest)
        if values[0] != values[1]:
            raise NotComparable(f"the units and the app differ in {what}: {values[0][:200]}; {values[1][:200]}",
                                hint="Record both apps on the same guest, with the same options.")  # fmt: skip


def _asked_for(operation: str) -> str:
    """The operation that caused deferred work."""
    return operation.removeprefix(DEFERRED)


def _rows(recordings: Sequence[Recording], phases: Sequence[int]) -> Columns:
    """The rows of some phases that are compared, with deferred work under the operation that caused it."""
    shown: Mapping[str, Callable[[str], str]] = {"function": readable, "operation": _asked_for}
    wanted = [*_CELL, *_FUNCTION, "space", "instructions", "rep_bytes", "calls"]
    rows = columns.read(recordings, "ledger", wanted, shown)
    in_kernel = np.array([libc_in_kernel(one) for one in recordings])[rows.run]
    libc = rows.coded("layer", ["libc"]) & (rows.coded("space", ["user"]) | in_kernel)
    out = rows.coded("layer", [ASIDE[0], *LEFT_OUT]) | rows.coded("operation", UNASKED) | libc
    return rows.where(np.isin(rows.values["phase"], list(phases)) & ~out)


def _table(recordings: Sequence[Recording], phases: Sequence[int], means: Sequence[str], each: Cost | None = None
           ) -> pd.DataFrame:  # fmt: skip
    """Per (phase, operation, layer, function): means over runs of some columns, and a column per run of ``each``."""
    import pandas as pd

    rows = _rows(recordings, phases)
    group, index = rows.groups([*_CELL, *_FUNCTION])
    sums = {name: rows.sums(name, group, len(index), len(recordings)).mean(axis=1) for name in means}
    table = pd.DataFrame(sums, index=index)
    if each:
        runs = rows.sums(each, group, len(index), len(recordings))
        table = table.join(pd.DataFrame(runs, index=index, columns=[one.seed for one in recordings]))
    return table


def _dropped(index: Any, levels: Sequence[str]) -> pd.Index[Any]:
    """An index without some of its levels, each value once."""
    found: pd.Index[Any] = index.droplevel(list(levels)).unique()
    return found


def _spread(values: pd.Series[float], functions: pd.Index[Any], cells: pd.Index[Any]) -> Floats:
    """A matrix of a row per function and a column per cell; what is not among the functions is left out."""
    index: Any = values.index
    rows = functions.get_indexer(index.droplevel(_CELL))
    places = cells.get_indexer(index.droplevel(_FUNCTION))
    kept = (rows >= 0) & (places >= 0)
    found = np.zeros((len(functions), len(cells)))
    np.add.at(found, (rows[kept], places[kept]), values.to_numpy(dtype=np.float64)[kept])
    return found


def _calls(recordings: Sequence[Recording], phases: Sequence[int]) -> pd.DataFrame:
    """Calls per (phase, operation), a column per run."""
    import pandas as pd

    rows = columns.read(recordings, "calls", [*_CELL, "calls"])
    rows = rows.where(np.isin(rows.values["phase"], list(phases)))
    group, index = rows.groups(_CELL)
    return pd.DataFrame(rows.sums("calls", group, len(index), len(recordings)), index=index)
