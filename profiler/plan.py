"""Which runs a campaign consists of: app x guest x seed, in a fixed order, everything derived from the numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from profiler.errors import UsageError

if TYPE_CHECKING:
    from images import GuestSpec

SEEDS_MOST: Final = 10_000
_EPOCH: Final = datetime(2026, 1, 1)  # without a time zone: it is the guest's own clock
_SEEDS: Final = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")


@dataclass(frozen=True)
class Seed:
    """What a run starts from; the same number always means the same start.

    One seed repeats bit for bit but is not representative: the clock's date moves timers and hashes, the spin moves the
    app against the timer tick, and the memory's size moves what the kernel's allocators have at hand.
    """

    number: int

    @property
    def clock(self) -> datetime:
        """The guest's real-time clock at power-on: N days and N * 3607 s (a prime) after 2026-01-01."""
        return _EPOCH + timedelta(days=self.number, seconds=self.number * 3607)

    @property
    def spin(self) -> int:
        """Rounds of the loop that the app runs before it arms the probe."""
        return 1000 + 7919 * self.number

    @property
    def memory_mib(self) -> int:
        """Memory beyond what the guest has anyway: 0 to 60 MiB in steps of 4."""
        return 4 * (self.number * 7 % 16)


@dataclass(frozen=True)
class Run:
    """One boot of one guest with one app from one seed."""

    app: str
    guest: GuestSpec
    seed: Seed

    def directory(self, out: Path) -> Path:
        """Where its recording goes: OUT/APP/GUEST/seed-N."""
        return out / self.app / self.guest.directory_name() / f"seed-{self.seed.number}"

    def __str__(self) -> str:
        return f"{self.app} on {self.guest}, seed {self.seed.number}"


def parse_seeds(text: str) -> list[Seed]:
    """``3`` means seeds 1 to 3; ``4-6`` means those three.  Raises UsageError for anything else."""
    found = _SEEDS.fullmatch(text.strip())
    first, last = (1, 0) if found is None else (1, int(found[1])) if found[2] is None else map(int, found.groups())
    if not 1 <= first <= last <= SEEDS_MOST:
        raise UsageError(
            f"{text[:40]!r} is no number of seeds", hint=f"write 3 for seeds 1 to 3, or 4-6; {SEEDS_MOST} is the most"
        )
    return [Seed(number) for number in range(first, last + 1)]


def parse_guests(text: str) -> list[GuestSpec]:
    """Guests separated by commas, each as in ``linux+audit=1``; a comma inside an option is not possible here.

    Where a guest has several runtimes, its spec gets the default one, so that it always says which.  Raises UsageError
    if one is not understood, cannot be booted so, or is given twice, and ArtifactUnavailable if its kernel has to be
    added first: before anything is run.
    """
    from images import GuestSpec, check

    specs = [GuestSpec.parse(part.strip()) for part in text.split(",")]
    guests = [check(spec).named(spec) for spec in specs]
    for number, guest in enumerate(guests):
        if guest in guests[:number]:
            raise UsageError(f"guest {guest} is given twice", hint="name every guest once")
    return guests


def plan(app: str, guests: Sequence[GuestSpec], seeds: Sequence[Seed]) -> list[Run]:
    """All runs, guest by guest within each seed, so that an interrupted campaign has something to compare."""
    return [Run(app, guest, seed) for seed in seeds for guest in guests]
