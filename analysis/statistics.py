"""What the seeds say about certainty.  A run is exactly repeatable; another seed is another, equally good, run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

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

    @property
    def width(self) -> float:
        """From the lowest to the highest run; 0 with one run, which says nothing."""
        return self.high - self.low

    @property
    def relative(self) -> float:
        """``width`` over the mean; 0 for a mean of 0."""
        return self.width / self.mean if self.mean else 0.0


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
        """What the seeds alone move: the wider of the two spreads, so that a base with few runs is not trusted."""
        return max(self.base.width, self.other.width)

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
        """Whether the difference is one.  ``differs`` with one run each means only that nothing speaks against it."""
        largest = max(abs(self.base.mean), abs(self.other.mean))
        if abs(self.delta) <= SAME * largest:
            return "same"
        return "within seed spread" if abs(self.delta) <= self.noise else "differs"


def spread(values: Sequence[float], seeds: int = 0) -> Spread:
    """The spread of one value per different run, of which some may stand for several seeds."""
    return Spread(mean=float(sum(values)) / len(values), low=float(min(values)), high=float(max(values)),
                  runs=len(values), seeds=seeds)  # fmt: skip
