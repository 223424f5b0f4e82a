"""Which of two guests is ahead at how many threads, and where that changes.

N / X is linear in the coefficients of the law (``analysis/scaling.py``), so two guests are level where a quadratic is
0, and the loads where they cannot be told apart are those where it is within its own error (Fieller's interval:
nothing is drawn at random).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from analysis.scaling import Floats, Interval, Scaling, powers
from analysis.statistics import student

# The coefficients of N^2, N and 1 in the quadratic t0 + t1 (N - 1) + t2 N (N - 1).
_AS_POLYNOMIAL: Final = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, -1.0], [1.0, -1.0, 0.0]])
_STEPS: Final = 1025


@dataclass(frozen=True)
class Lead:
    """Two guests over the loads that both were measured at, ``first`` to ``last``.

    ``leads`` has the position (0 or 1) of who is ahead between each two of ``crossings``; an end of an interval that is
    None is outside of the range.  ``apart`` is False where no load of the range tells them apart.
    """

    first: float
    last: float
    crossings: tuple[Interval, ...]
    leads: tuple[int, ...]
    apart: bool

    def said(self, names: tuple[str, str], unit: str = "threads") -> str:
        """In a sentence."""
        span = f"from {self.first:g} to {self.last:g} {unit}"
        if not self.apart:
            return f"{names[0]} and {names[1]} cannot be told apart {span}."
        if not self.crossings:
            return f"{names[self.leads[0]]} is ahead at all numbers {span}: no crossover in the measured range."
        parts = [f"{names[self.leads[0]]} is ahead until N = {self.crossings[0]}"]
        for place, lead in enumerate(self.leads[1:]):
            until = f" until N = {self.crossings[place + 1]}" if place + 1 < len(self.crossings) else ""
            parts.append(f"then {names[lead]}{until}")
        return f"{', '.join(parts)} (measured {span})."


def lead(one: Scaling, other: Scaling) -> Lead | None:
    """Who is ahead where; None if both were measured at no range of loads in common."""
    first, last = max(one.loads[0], other.loads[0]), min(one.loads[-1], other.loads[-1])
    if first >= last:
        return None
    terms, covariance = one.terms - other.terms, one.covariance + other.covariance
    within = student(min(one.freedom, other.freedom)) ** 2

    def told(loads: Floats) -> npt.NDArray[np.bool_]:
        at = powers(loads)
        found: npt.NDArray[np.bool_] = (at @ terms) ** 2 > within * np.einsum("ni,ij,nj->n", at, covariance, at)
        return found

    roots = np.roots(_AS_POLYNOMIAL @ terms)
    real = np.sort(roots.real[np.abs(roots.imag) <= 1e-9 * np.maximum(np.abs(roots.real), 1)])
    near = 1e-9 * (last - first)  # where both are level at an end of the range, rounding decides on which side it is
    found = [Interval(float(root), _edge(told, root, first), _edge(told, root, last))
             for root in real[(real > first + near) & (real < last - near)]]  # fmt: skip
    if len(found) == 2 and (found[0].low, found[0].high) == (found[1].low, found[1].high):
        found = []  # between the two nobody is told to be ahead
    leads = []
    for begin, end in pairwise([first, *(crossing.value for crossing in found), last]):
        apart = powers(np.linspace(begin, end, _STEPS)) @ terms
        leads.append(int(apart[np.abs(apart).argmax()] > 0))
    return Lead(
        float(first), float(last), tuple(found), tuple(leads), bool(told(np.linspace(first, last, _STEPS)).any())
    )


def _edge(told: Callable[[Floats], npt.NDArray[np.bool_]], root: float, limit: float) -> float | None:
    """Where the loads that are not told apart end, from a crossing towards a limit; None if they do not before that."""
    steps = np.linspace(root, limit, _STEPS)
    outside = np.flatnonzero(told(steps))
    if not len(outside):
        return None
    near, far = steps[max(outside[0] - 1, 0)], steps[outside[0]]
    for _ in range(60):
        middle = (near + far) / 2
        near, far = (near, middle) if told(np.array([middle]))[0] else (middle, far)
    return float(far)
