"""From cells to findings: cells that are one cause are merged, and the fewest that explain the difference are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from analysis.align import Cells
from analysis.ledger import Cost
from analysis.split import Floats
from analysis.statistics import Change, spread

EXPLAINED: Final = 0.9
"""Findings stop when they explain this share of the difference."""
MOST: Final = 12
"""No list of findings is longer."""
ALIKE: Final = 0.5
"""Cells share a cause if this share of the one's difference is in functions that changed in the other too."""
FUNCTIONS: Final = 8
"""Functions named per finding."""


@dataclass(frozen=True)
class Function:
    """A function's part of a finding."""

    name: str
    base: float
    other: float

    @property
    def delta(self) -> float:
        """Other minus base."""
        return self.other - self.base


@dataclass(frozen=True)
class Finding:
    """One statement about a difference.

    Figures are per op when ``phases`` is the one phase being compared, and for all ops of all its phases otherwise.
    ``count + unit + structural`` is ``change.delta``.
    """

    cost: Cost
    phases: tuple[int, ...]
    operations: tuple[str, ...]  # largest part first
    layer: str
    change: Change
    share: float  # of the whole difference; negative if it goes the other way, above 1 if others make up for it
    count: float
    unit: float
    structural: float
    base_calls: float
    other_calls: float
    deferred: float  # the part of the difference that is work done later, on behalf of the operation (instructions)
    functions: tuple[Function, ...]  # largest difference first
    more_functions: int  # how many others changed
    cells: int
    other_cost: float  # how much the other cost (bytes or instructions) of the same cells changed
    sentence: str = ""

    @property
    def within_spread(self) -> bool:
        """Whether the seeds alone move it as much."""
        return self.change.verdict == "within seed spread"


def rank(cells: Cells, rows: npt.NDArray[np.intp], weights: Floats, companion: Mapping[tuple[object, ...], float]
         ) -> tuple[Finding, ...]:  # fmt: skip
    """The findings for some ``rows`` of ``cells``, each row times its weight (1 for per op, ops for totals).

    What exceeds the seed spread comes first, then the larger difference.  ``companion`` is the weighted difference of
    the other cost per (phase, operation, layer).
    """
    delta = cells.frame["delta"].to_numpy(dtype=np.float64) * weights
    whole = float(delta[rows].sum())
    groups = causes(cells, rows, delta)
    findings = [_finding(cells, group, weights, whole, companion) for group in groups]
    findings.sort(key=lambda one: (one.within_spread, -abs(one.change.delta), one.layer, one.operations))
    kept = fewest([finding.change.delta for finding in findings], whole)
    return tuple(findings[:kept])


def fewest(deltas: Sequence[float], whole: float) -> int:
    """How many of ``deltas`` (in order) explain ``EXPLAINED`` of ``whole``, or of all that moves if much cancels out.

    At most ``MOST``; with deltas of one sign, largest first, no smaller set does it.
    """
    moved = sum(abs(delta) for delta in deltas)
    if moved == 0:
        return 0
    signed = absolute = 0.0
    for number, delta in enumerate(deltas[:MOST], start=1):
        signed += delta
        absolute += abs(delta)
        following = abs(deltas[number]) if number < len(deltas) else 0.0
        left = (1 - EXPLAINED) * abs(whole) * (1 + 1e-9)
        if (abs(whole - signed) <= left and following <= left) or absolute >= EXPLAINED * moved:
            return number
    return min(len(deltas), MOST)


def causes(cells: Cells, rows: npt.NDArray[np.intp], delta: Floats) -> list[npt.NDArray[np.intp]]:
    """Groups of rows that are one cause: the same layer, the same direction, and largely the same functions.

    A file's ``openat`` and ``close`` may both pay for one hook.  The largest cell leads; a cell joins the first group
    that it resembles.  Cells that are together below 0.5 % of all that moves are left out: no finding rests on them.
    """
    order = rows[np.argsort(-np.abs(delta[rows]), kind="stable")]
    sizes = np.abs(delta[order])
    if not len(order) or sizes.sum() == 0:
        return []
    order = order[: int(np.searchsorted(np.cumsum(sizes), 0.995 * sizes.sum())) + 1]
    layers, per_op = cells.frame["layer"].to_numpy(), cells.frame["delta"].to_numpy(dtype=np.float64)
    by_cell = _functions_by_cell(cells, order)
    groups: dict[tuple[str, bool], list[tuple[list[int], dict[str, float]]]] = {}
    for row in order.tolist():
        scale = delta[row] / per_op[row]
        mine = {name: value * scale for name, value in _material(by_cell[row], delta[row] > 0).items()}
        peers = groups.setdefault((layers[row], bool(delta[row] > 0)), [])
        for members, functions in peers:
            shared = mine.keys() & functions.keys()
            if _share(mine, shared) >= ALIKE or _share(functions, shared) >= ALIKE:
                members.append(row)
                for name, value in mine.items():
                    functions[name] = functions.get(name, 0.0) + value
                break
        else:
            peers.append(([row], mine))
    return [np.array(members, dtype=np.intp) for peers in groups.values() for members, _ in peers]


def _functions_by_cell(cells: Cells, rows: npt.NDArray[np.intp]) -> dict[int, dict[str, float]]:
    frame = cells.functions
    frame = frame[frame["cell"].isin(rows) & (frame["delta"] != 0)]
    found: dict[int, dict[str, float]] = {row: {} for row in rows.tolist()}
    for cell, name, value in zip(frame["cell"].tolist(), frame["function"].tolist(), frame["delta"].tolist(),
                                 strict=True):  # fmt: skip
        found[cell][name] = value
    return found


def _material(functions: dict[str, float], rising: bool) -> dict[str, float]:
    """The functions that make nine tenths of a cell's difference, in its own direction."""
    ordered = sorted(((value, name) for name, value in functions.items() if (value > 0) == rising),
                     key=lambda pair: (-abs(pair[0]), pair[1]))  # fmt: skip
    enough = 0.9 * sum(abs(value) for value, _ in ordered)
    kept: dict[str, float] = {}
    for value, name in ordered:
        if sum(map(abs, kept.values())) >= enough:
            break
        kept[name] = value
    return kept


def _share(functions: dict[str, float], names: set[str]) -> float:
    whole = sum(map(abs, functions.values()))
    return sum(abs(functions[name]) for name in names) / whole if whole else 0.0


def _finding(cells: Cells, rows: npt.NDArray[np.intp], weights: Floats, whole: float,
             companion: Mapping[tuple[object, ...], float]) -> Finding:  # fmt: skip
    frame = cells.frame.iloc[rows]
    weight = weights[rows]
    change = Change(*(spread((runs[rows] * weight[:, None]).sum(axis=0).tolist())
                      for runs in (cells.base_runs, cells.other_runs)))  # fmt: skip

    def total(column: str) -> float:
        return float((frame[column].to_numpy(dtype=np.float64) * weight).sum())

    def largest_first(column: str) -> tuple[object, ...]:
        moved = (frame["delta"].abs() * weight).groupby(frame[column]).sum()
        return tuple(moved.sort_values(ascending=False, kind="stable").index.tolist())

    once = frame.assign(weight=weight).drop_duplicates(["phase", "operation"])
    of = cells.functions[cells.functions["cell"].isin(rows)]
    by_row = np.zeros(len(cells.frame))
    by_row[rows] = weight
    scaled = of[["base", "other"]].mul(by_row[of["cell"].to_numpy()], axis=0).groupby(of["function"]).sum()
    moved = (scaled["other"] - scaled["base"]).abs()
    changed = scaled[moved > 1e-9 * max(float(moved.max()), 1.0)]
    # A function that goes the other way is named only after those that make the difference.
    with_it = np.sign(changed["other"] - changed["base"]) == np.sign(change.delta)
    changed = changed.assign(size=moved[changed.index], with_it=with_it, name=changed.index)
    changed = changed.sort_values(["with_it", "size", "name"], ascending=[False, False, True])
    top = changed.head(FUNCTIONS)
    keys = zip(frame["phase"], frame["operation"], frame["layer"], strict=True)
    return Finding(
        cost=cells.cost,
        phases=tuple(int(str(phase)) for phase in largest_first("phase")),
        operations=tuple(str(operation) for operation in largest_first("operation")),
        layer=str(frame["layer"].iat[0]),
        change=change,
        share=change.delta / whole if whole else 0.0,
        count=total("count"),
        unit=total("unit"),
        structural=total("structural"),
        base_calls=float((once["base_calls"] * once["weight"]).sum()),
        other_calls=float((once["other_calls"] * once["weight"]).sum()),
        deferred=total("other_deferred") - total("base_deferred"),
        functions=tuple(Function(str(name), float(base), float(other)) for name, base, other in
                        zip(top["name"], top["base"], top["other"], strict=True)),
        more_functions=len(changed) - len(top),
        cells=len(rows),
        other_cost=sum(companion.get(key, 0.0) for key in keys),
    )  # fmt: skip
