"""What the seeds say about certainty.  A run is exactly repeatable; another seed is another, equally good, run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal, overload

from analysis.intervals import difference_of_means
from analysis.modes import Mode, modes

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Mask = npt.NDArray[np.bool_]

FEW_SEEDS: Final = 8
"""Below this many different runs the spread is too small on average: the range of 3 draws covers half of the range."""
SAME: Final = 0.001
"""A relative difference below this is called none: a harvest of randomness moves a short phase by that much."""

Verdict = Literal["same", "within seed spread", "differs"]


@dataclass(frozen=True)
class Spread:
    """One figure over the different runs of a guest."""

    mean: float
    low: float
    high: float
    runs: int  # runs with different ledgers; identical ones count once
    seeds: int = 0  # all of them; 0 where nobody asks
    values: tuple[float, ...] = ()  # one per run, in no order

    @property
    def width(self) -> float:
        """From the lowest to the highest run; 0 with one run, which says nothing."""
        return self.high - self.low

    @property
    def relative(self) -> float:
        """``width`` over the mean; 0 for a mean of 0."""
        return self.width / self.mean if self.mean else 0.0

    @property
    def few(self) -> bool:
        """Whether there are too few seeds to say what others would do."""
        return few(self.runs, self.seeds)

    @cached_property
    def modes(self) -> tuple[Mode, ...]:
        """The values about which the runs gather, where there are several: none of one run is near their mean."""
        return modes(self.values) if self.runs >= FEW_SEEDS else ()


@dataclass(frozen=True)
class Change:
    """One figure on two guests."""

    base: Spread
    other: Spread

    @property
    def delta(self) -> float:
        """Other minus base."""
        return self.other.mean - self.base.mean

    @property
    def relative(self) -> float | None:
        """``delta`` over the base; None where the base is 0."""
        return self.delta / self.base.mean if self.base.mean else None

    @property
    def ratio(self) -> float | None:
        """Other over base; None where the base is 0."""
        return self.other.mean / self.base.mean if self.base.mean else None

    @property
    def noise(self) -> float:
        """The floor: the largest difference that either guest shows against itself, any run of it against any other.

        It is the wider of the two ranges, so that a base with few runs is not trusted.
        """
        return max(self.base.width, self.other.width)

    @property
    def few(self) -> bool:
        """Whether either side has too few seeds."""
        return self.base.few or self.other.few

    @cached_property
    def interval(self) -> tuple[float, float] | None:
        """Where the difference of the means is, over all seeds there are, at 95 %; None without FEW_SEEDS runs."""
        if min(self.base.runs, self.other.runs) < FEW_SEEDS:
            return None
        return difference_of_means(self.base.values, self.other.values)

    @property
    def said(self) -> str:
        """What the seeds say of the difference's size, in at most 22 characters."""
        sides = (self.base, self.other)
        if any(side.runs < 2 and side.seeds < 2 for side in sides):
            return "spread unknown"
        if all(side.runs < 2 for side in sides):
            return f"identical over {min(side.seeds for side in sides)} seeds"
        return f"spread {100 * self.noise / max(self.base.mean, self.other.mean, 1e-12):.1f} %"

    @property
    def verdict(self) -> Verdict:
        """Whether the difference is one: beyond the floor, and every run of the one beyond every run of the other.

        With one run each, ``differs`` means only that nothing speaks against it.
        """
        if abs(self.delta) <= SAME * max(abs(self.base.mean), abs(self.other.mean)):
            return "same"
        ranges = self.base.low, self.base.high, self.other.low, self.other.high
        return "differs" if beyond(self.delta, *ranges) else "within seed spread"


@overload
def beyond(delta: float, base_low: float, base_high: float, other_low: float, other_high: float) -> bool: ...
@overload
def beyond(delta: Floats, base_low: Floats, base_high: Floats, other_low: Floats, other_high: Floats) -> Mask: ...
def beyond(delta: Any, base_low: Any, base_high: Any, other_low: Any, other_high: Any) -> Any:
    """Whether a difference of means is beyond what the seeds move, of one figure or of each of many.

    It is if it exceeds both ranges, and these do not overlap.  Were the two guests the same, so that any n + m runs
    could as well be any others of them, the second would happen in at most 2 of all C(n + m, n) ways to deal the runs
    out, 1 of 6,435 for 8 against 8, whatever the seeds do (Fisher, The Design of Experiments, 1935, section 21).
    """
    apart = (base_high < other_low) | (other_high < base_low)
    return apart & (abs(delta) > base_high - base_low) & (abs(delta) > other_high - other_low)


def few(runs: int, seeds: int) -> bool:
    """Whether ``runs`` different ones of ``seeds`` are too few.  Seeds that change nothing are one run, and enough."""
    return runs < FEW_SEEDS and (runs > 1 or seeds < FEW_SEEDS)


def spread(values: Sequence[float], seeds: int = 0) -> Spread:
    """The spread of one value per different run, of which some may stand for several seeds."""
    return Spread(mean=float(sum(values)) / len(values), low=float(min(values)), high=float(max(values)),
                  runs=len(values), seeds=seeds, values=tuple(values))  # fmt: skip


def student(freedom: int, inside: float = 0.95) -> float:
    """The t beyond which a share of 1 - ``inside`` lies, both sides together, of Student's distribution.

    Its share within t is a finite sum for whole degrees of freedom: Abramowitz and Stegun, 26.7.3 and 26.7.4.
    """
    if freedom < 1 or not 0 < inside < 1:
        raise ValueError("degrees of freedom are at least 1, and a share is between 0 and 1")
    low, high = 0.0, 1.0
    while _within(high, freedom) < inside:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < inside else (low, middle)
    return (low + high) / 2


def _within(t: float, freedom: int) -> float:
    angle = math.atan2(t, math.sqrt(freedom))
    square = math.cos(angle) ** 2
    odd = freedom % 2
    term = math.cos(angle) if odd else 1.0
    total = term if freedom > 1 else 0.0
    for place in range(2 + odd, freedom - 1, 2):
        term *= square * (place - 1) / place
        total += term
    return 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total
