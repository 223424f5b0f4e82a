"""The universal scalability law: what contention and coherence cost as threads or connections are added.

X(N) = rate N / (1 + sigma (N - 1) + kappa N (N - 1)), N. J. Gunther, "Guerrilla Capacity Planning", Springer 2007.
``sigma`` is the share that must wait for its turn, ``kappa`` what each pair costs each other.

N / X is linear in its three coefficients, which gives a start; the fit proper minimises the squared residuals of X.
That is what the R package ``usl`` does too; ``tests/unit/test_scaling.py`` holds this against its published figures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from analysis.statistics import SAME, student
from profiler.errors import NotComparable

Floats = npt.NDArray[np.float64]

POINTS: Final = 6
"""Fewer different loads are refused: three coefficients leave them next to nothing to be wrong about."""
_ROUNDS: Final = 200
_NOTHING: Final = 1e-12
"""What is smaller comes of rounding."""


@dataclass(frozen=True)
class Interval:
    """A figure and its 95 % interval; an end that is None is not known."""

    value: float
    low: float | None
    high: float | None

    def __str__(self) -> str:
        value, low, high = (
            "..." if one is None else f"{0.0 if abs(one) < _NOTHING else one:.3g}"
            for one in (self.value, self.low, self.high)
        )
        return f"{value} [{low}, {high}]"


@dataclass(frozen=True)
class Scaling:
    """The law, fitted.  ``terms`` t are those of N / X = t0 + t1 (N - 1) + t2 N (N - 1), ``covariance`` is theirs.

    ``throughput`` is the mean of what was measured at each of ``loads``.
    """

    loads: Floats
    throughput: Floats
    terms: Floats
    covariance: npt.NDArray[Any]

    @property
    def freedom(self) -> int:
        """Loads beyond the three coefficients."""
        return len(self.loads) - 3

    def at(self, loads: Floats | float) -> Any:
        """X(N), in the unit of what was measured."""
        loads = np.asarray(loads, dtype=np.float64)
        return loads / (powers(loads) @ self.terms)

    @cached_property
    def residuals(self) -> Floats:
        """Measured less fitted, at each load."""
        found: Floats = self.throughput - self.at(self.loads)
        return found

    @property
    def worst(self) -> float:
        """The largest residual, as a share of what was measured there."""
        return float(np.max(np.abs(self.residuals) / self.throughput))

    @property
    def rate(self) -> Interval:
        """X(1), as the law has it."""
        return self._delta(1 / self.terms[0], [-1 / self.terms[0] ** 2, 0, 0])

    @property
    def sigma(self) -> Interval:
        """Contention, a share of the work of one."""
        first, second, _ = self.terms
        return self._delta(second / first, [-second / first**2, 1 / first, 0])

    @property
    def kappa(self) -> Interval:
        """Coherence, a share of the work of one."""
        first, _, third = self.terms
        return self._delta(third / first, [-third / first**2, 0, 1 / first])

    @property
    def peak(self) -> Interval:
        """The N where X is largest: t0 - t1 - t2 N^2 is 0 there, so the interval is Fieller's, of a ratio.

        Its upper end is None where t2 may as well be 0.  At most 1: X falls from the first on.
        """
        first, second, third = self.terms
        within = student(self.freedom) ** 2
        up, down = np.array([1.0, -1.0, 0.0]), np.array([0.0, 0.0, 1.0])
        var_up, var_down, both = (float(one @ self.covariance @ other)
                                  for one, other in ((up, up), (down, down), (up, down)))  # fmt: skip
        # All ratios r for which (t0 - t1) - r t2 is not told from 0.
        a = third**2 - within * var_down
        half = (first - second) * third - within * both
        c = (first - second) ** 2 - within * var_up
        value = math.sqrt(max((first - second) / third, 0.0))
        if a <= 0:
            return Interval(value, None, None)
        root = math.sqrt(max(half * half - a * c, 0.0))
        return Interval(value, math.sqrt(max((half - root) / a, 0.0)), math.sqrt(max((half + root) / a, 0.0)))

    def _delta(self, value: float, gradient: Sequence[float]) -> Interval:
        """A function of the coefficients, by its first derivatives (the delta method)."""
        steps = np.asarray(gradient)
        half = student(self.freedom) * math.sqrt(max(float(steps @ self.covariance @ steps), 0.0))
        return Interval(float(value), float(value - half), float(value + half))


def powers(loads: Floats) -> Floats:
    """What the terms are multiplied with: 1, N - 1, N (N - 1); the last axis has the three."""
    return np.stack([np.ones_like(loads), loads - 1, loads * (loads - 1)], axis=-1)


def fit(points: Sequence[tuple[float, float]], unit: str = "threads") -> Scaling:
    """The law that fits (N, X) best; several X of one N are averaged.

    Raises ``NotComparable``, with a sentence that has the figures: of fewer than POINTS different loads, of values that
    are none, of coefficients that are negative, and where the points do not bend enough to tell kappa from 0.
    """
    measured = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    if len(measured) and not (np.isfinite(measured).all() and (measured[:, 0] >= 1).all() and (measured > 0).all()):
        raise NotComparable(f"there are numbers of {unit} below 1, or throughputs that are not above 0")
    loads, place = np.unique(measured[:, 0], return_inverse=True)
    if len(loads) < POINTS:
        raise NotComparable(
            f"{len(loads)} different numbers of {unit} are too few: the law has three coefficients, and says nothing of"
            f" fewer than {POINTS} points",
            hint=f"measure at {POINTS} or more different numbers of {unit}",
        )
    throughput = np.bincount(place, weights=measured[:, 1]) / np.bincount(place)
    found = _least_squares(loads, throughput)
    _refuse(found, unit)
    return found


def _least_squares(loads: Floats, throughput: Floats) -> Scaling:
    """Gauss-Newton with shorter steps where a whole one is too much, on figures of about 1."""
    size, most = float(throughput.max()), float(loads[-1])
    scale = np.array([1.0, 1 / most, 1 / most**2])
    terms_of, measured = powers(loads) * scale, throughput / size
    # A residual of X is that of N / X times X^2 / N, nearly.
    weight = measured**2 / loads
    terms = np.linalg.lstsq(terms_of * weight[:, None], loads / measured * weight, rcond=None)[0]
    if not (terms_of @ terms > 0).all():
        terms = np.array([float(np.mean(loads / measured)), 0.0, 0.0])

    def residuals(tried: Floats) -> Floats:
        below = terms_of @ tried
        return measured - loads / below if (below > 0).all() else np.full(len(loads), np.inf)

    def slope(tried: Floats) -> Floats:
        found: Floats = -(loads / (terms_of @ tried) ** 2)[:, None] * terms_of
        return found

    rest = residuals(terms)
    for _ in range(_ROUNDS):
        step = np.linalg.lstsq(slope(terms), rest, rcond=None)[0]
        shorter = 1.0
        while shorter > 1e-12 and float((tried := residuals(terms + shorter * step)) @ tried) > float(rest @ rest):
            shorter /= 2
        if shorter <= 1e-12:
            break
        before, terms = float(rest @ rest), terms + shorter * step
        rest = residuals(terms)
        # Squares that no longer shrink: the coefficients are within 1e-6 of their own errors.
        if before - float(rest @ rest) <= 1e-13 * before:
            break
    spread = float(rest @ rest) / max(len(loads) - 3, 1)
    matrix = slope(terms)
    covariance = spread * np.linalg.pinv(matrix.T @ matrix)
    return Scaling(loads, throughput, terms * scale / size, covariance * np.outer(scale, scale) / size**2)


def _refuse(found: Scaling, unit: str) -> None:
    """Raise ``NotComparable`` where the coefficients would be made up."""
    first, last = (f"{load:g}" for load in (found.loads[0], found.loads[-1]))
    span = f"from {first} to {last} {unit}"
    level = _level(found)
    if level is not None:
        raise NotComparable(
            f"throughput is level from {level:g} {unit} on (a plateau): a line up to a level fits the points {span}"
            f" better than the law does; kappa would be {found.kappa}, and is not known",
            hint=f"measure more {unit}, to where throughput falls",
        )
    if found.sigma.value < 0 and _surely(found.sigma):
        raise NotComparable(
            f"sigma is negative, {found.sigma}: {span} each adds more than the one before, which the law does not know",
            hint="look for work that is done once for all, and leave it out of the window",
        )
    # What the last term makes of the whole at the largest load, where it is largest.
    bend = (
        abs(found.terms[2]) * found.loads[-1] * (found.loads[-1] - 1) / float(powers(found.loads[-1:])[0] @ found.terms)
    )
    if bend <= SAME or not _surely(found.kappa):
        raise NotComparable(
            f"throughput does not bend enough {span}: kappa is {found.kappa}, which is not told from 0, and nothing is"
            f" known of a peak; sigma would be {found.sigma}",
            hint=f"measure more {unit}, to where throughput falls",
        )
    for name, value in (("sigma", found.sigma), ("kappa", found.kappa)):
        if value.value < 0:
            raise NotComparable(
                f"{name} is negative, {value}: the law does not describe the points {span}",
                hint="look at the residuals: something else changes with the load",
            )


def _surely(value: Interval) -> bool:
    """Whether 0 is outside the interval."""
    return value.low is not None and value.high is not None and not value.low <= 0 <= value.high


def _level(found: Scaling) -> float | None:
    """The load from which on throughput is level, if a line up to there and a level fit better than the law does.

    These are the bounds of any closed system with one bottleneck, which the law has no place for.
    """
    loads, throughput = found.loads, found.throughput
    if throughput.max() - throughput.min() <= SAME * throughput.max():
        return float(loads[0])
    best, where = float(found.residuals @ found.residuals), None
    for before in range(len(loads) - 2):  # three loads at least are level
        steep = float(loads[:before] @ throughput[:before] / (loads[:before] @ loads[:before])) if before else math.inf
        level = float(throughput[before:].mean())
        rest = throughput - (np.minimum(steep * loads, level) if before else level)
        # Points on the law itself are fitted to the last bits: a plateau is better by more than rounding.
        if float(rest @ rest) + 1e-18 * float(throughput @ throughput) < best:
            best, where = float(rest @ rest), float(loads[before])
    return where
