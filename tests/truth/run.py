"""Records the guests of some causes, every one with the same phases, and compares each cause's two."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from analysis.compare import compare
from analysis.comparison import Pair
from images import GuestSpec
from probes import recording
from profiler.cli.run import record
from profiler.errors import NotComparable
from profiler.plan import Run, parse_guests, parse_seeds
from profiler.subject import Known
from tests.truth.causes import Cause

APP: Final = "tour"
_OPTIONS: Final = Namespace(mode=None, vcpus=1, stacks=False, limit=None)


class NotRecorded(Exception):
    """A guest of a cause did not run."""


def phases_of(app: str = APP) -> list[str]:
    """Give the names of all phases of an app."""
    from images import apps

    return [phase.name for phase in apps.load(app).phases]


def measure(causes: Sequence[Cause], seeds: str, out: Path) -> None:
    """Record each guest of ``causes`` once per seed, all with the phases that any of the causes names.

    What is recorded already and still holds is kept.  A guest that fails does not stop the others.
    """
    named = {hit.phase for cause in causes for hit in cause.hit} | {name for cause in causes for name in cause.quiet}
    chosen = [name for name in phases_of() if name in named]
    guests = dict.fromkeys(spec for cause in causes for spec in (cause.base, cause.other))
    record(Known(APP, chosen), ",".join(guests), seeds, out, _OPTIONS)


def compared(cause: Cause, seeds: str, out: Path) -> Pair:
    """Compare the two guests of a cause as they were recorded; raises ``NotRecorded``."""
    base, other = (_recordings(spec, seeds, out) for spec in (cause.base, cause.other))
    try:
        return compare([*base, *other], base[0].spec, []).pairs[0]
    except NotComparable as error:
        raise NotRecorded(str(error)) from error


def _recordings(spec: str, seeds: str, out: Path) -> list[recording.Recording]:
    places = [run.directory(out) for run in _runs(spec, seeds)]
    lacking = [place for place in places if not (place / recording.MANIFEST).exists()]
    if lacking:
        raise NotRecorded(f"{spec} has no recording of seed {lacking[0].name.removeprefix('seed-')}")
    return [recording.read(place) for place in places]


def _runs(spec: str, seeds: str) -> Iterator[Run]:
    guests: list[GuestSpec] = parse_guests(spec)
    return (Run(APP, guest, seed) for guest in guests for seed in parse_seeds(seeds))
