"""How far an app came that was ended before it was done, from what the probe left."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from probes.exec import files


@dataclass(frozen=True)
class Reached:
    """The last window that an app opened: the number of its phase (None: it opened none), and whether it was open."""

    phase: int | None
    inside: bool


def reached(out: Path) -> Reached | None:
    """Give the last window of a run that was ended early; None if the probe left no summary that tells.

    ``points``: where windows began and ended, by turns (``write_vcpus`` in plugin/probe.c).  A vCPU that is halted has
    not learnt of the last ones; the one that marked them has.
    """
    try:
        points = max((vcpu["points"] for vcpu in files.summary(out)["vcpus"]), key=len)
        number = points[-1][0] if points else None
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    return Reached(number, len(points) % 2 == 1) if number is None or type(number) is int else None
