"""Records guests, several at the same time; of causes all with the same phases, and compares each cause's two."""

from __future__ import annotations

import io
import multiprocessing
import os
import shutil
import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

import images
from analysis.compare import compare
from analysis.comparison import Pair
from images import GuestSpec, apps
from images.apps import App
from probes import recording
from probes.recording import Recording
from profiler.cli.run import record
from profiler.errors import ArtifactUnavailable, NotComparable, WeaklinkError
from profiler.plan import Run, parse_guests, parse_seeds
from profiler.subject import Known
from tests.truth.causes import Cause

_HERE: Final = Path(__file__).resolve().parent
_APPS: Final = _HERE / "apps"
_PLANTED: Final = _HERE / "planted.c"
OPTIONS: Final = Namespace(mode=None, vcpus=1, stacks=False, limit=None)


@dataclass(frozen=True)
class Wanted:
    """What a guest runs: phases of an app by their names (none: all), from seeds as in ``weaklink run``."""

    app: str
    phases: tuple[str, ...]
    seeds: str


class NotRecorded(Exception):
    """A guest of a cause did not run."""


def app_of(name: str) -> App:
    """Give an app of weaklink's, or of this folder's own."""
    return apps.read(_APPS / name) if (_APPS / name).is_dir() else apps.load(name)


def phases_of(app: str) -> list[str]:
    """Give the names of all phases of an app."""
    return [phase.name for phase in app_of(app).phases]


def lacking(cause: Cause) -> str:
    """Say which guest of a cause has no kernel on this machine; "" if both have."""
    return absent(cause.base) or absent(cause.other)


def absent(spec: str) -> str:
    """Say that a guest has no kernel on this machine; "" if it has."""
    try:
        images.check(GuestSpec.parse(spec))
    except ArtifactUnavailable:
        return f"no {GuestSpec.parse(spec).name} here"
    return ""


def measure(causes: Sequence[Cause], seeds: str, out: Path, jobs: int = 1) -> None:
    """Record each guest of ``causes`` once per seed, with the phases that any cause of the same kernel names.

    What is recorded already and still holds is kept.  A guest that fails does not stop the others.  ``jobs`` guests are
    recorded at the same time.  Raises the first ``WeaklinkError`` that is no guest's own.
    """
    side_by_side(_wanted(causes, seeds), out, jobs, plant=True)


def side_by_side(work: Mapping[str, Sequence[Wanted]], out: Path, jobs: int, *, plant: bool = False) -> None:
    """Record what each guest runs, ``jobs`` guests at the same time, with what is planted linked in or without.

    Raises the first ``WeaklinkError`` that is no guest's own.
    """
    each = partial(_record, out, plant)
    if jobs < 2 or len(work) < 2:
        failures = [each(one) for one in work.items()]
    else:
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(jobs, mp_context=spawn, initializer=_no_moving_line) as pool:
            failures = list(pool.map(each, work.items()))
    for failure in failures:
        if failure is not None:
            raise failure


def _wanted(causes: Sequence[Cause], seeds: str) -> dict[str, list[Wanted]]:
    """Give what each guest runs: guests of one kernel the same phases of an app, or none could be compared."""
    named: dict[tuple[str, str], set[str]] = {}
    for cause in causes:
        named.setdefault((GuestSpec.parse(cause.base).name, cause.app), set()).update(cause.phases)
    wanted: dict[GuestSpec, dict[str, Wanted]] = {}
    for cause in causes:
        for guest in parse_guests(f"{cause.base},{cause.other}"):
            chosen = named[guest.name, cause.app]
            phases = tuple(name for name in phases_of(cause.app) if name in chosen)
            wanted.setdefault(guest, {})[cause.app] = Wanted(cause.app, phases, seeds)
    return {str(guest): list(mine.values()) for guest, mine in wanted.items()}


def _record(out: Path, plant: bool, work: tuple[str, Sequence[Wanted]]) -> WeaklinkError | None:
    guest, wanted = work
    try:
        for one in wanted:
            with planted(app_of(one.app), guest) if plant else nullcontext(app_of(one.app)) as app:
                subject = Known(app, list(one.phases))
                record(subject, guest, one.seeds, _place(GuestSpec.parse(guest), out), OPTIONS)
    except WeaklinkError as error:
        return error
    return None


def _no_moving_line() -> None:
    """Let two campaigns share the terminal: only lines that stay are written where standard error is none."""

    class Lines(io.TextIOWrapper):
        def isatty(self) -> bool:
            return False

    sys.stderr = Lines(os.fdopen(os.dup(2), "wb"), line_buffering=True)


@contextmanager
def planted(app: App, guest: str) -> Iterator[App]:
    """Give an app with ``planted.c`` linked into it, where the kernel hands words that it does not know to the app."""
    if images.check(GuestSpec.parse(guest)).kind != "linux":
        yield app
        return
    with tempfile.TemporaryDirectory(prefix="weaklink-") as folder:
        copy = Path(folder) / app.name
        shutil.copytree(app.folder, copy)
        shutil.copy(_PLANTED, copy)
        yield replace(app, folder=copy, sources=(*app.sources, _PLANTED.name))


def _place(guest: GuestSpec, out: Path) -> Path:
    """Give the campaign of a guest, since a campaign has its directory for itself."""
    return out / guest.directory_name()


def compared(cause: Cause, seeds: str, out: Path) -> Pair:
    """Compare the two guests of a cause as they were recorded; raises ``NotRecorded``."""
    base, other = (recordings(Wanted(cause.app, (), seeds), spec, out) for spec in (cause.base, cause.other))
    try:
        return compare([*base, *other], base[0].spec, []).pairs[0]
    except NotComparable as error:
        raise NotRecorded(str(error)) from error


def recordings(wanted: Wanted, spec: str, out: Path) -> list[Recording]:
    """Read what ``side_by_side`` recorded of an app on a guest, a recording per seed; raises ``NotRecorded``."""
    (guest,) = parse_guests(spec)
    places = [Run(wanted.app, guest, seed).directory(_place(guest, out)) for seed in parse_seeds(wanted.seeds)]
    missing = [place for place in places if not (place / recording.MANIFEST).exists()]
    if missing:
        raise NotRecorded(f"{wanted.app} on {spec} has no recording of seed {missing[0].name.removeprefix('seed-')}")
    return [recording.read(place) for place in places]
