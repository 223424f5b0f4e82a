"""What tests with real guests share: the kernels that are here, apps of the tests' own, ways to look at a recording."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import images
from analysis.verify import verify
from images import GuestSpec
from images.apps import describe
from probes import recording
from probes.recording import Recording
from profiler.cli.main import main

APPS = Path(__file__).with_name("apps")
FETCH_FAILED = 19
ADDING = {
    "osv": "weaklink guests add osv --kind osv --kernel loader.elf",
    "freebsd": "weaklink guests add freebsd --kind freebsd --kernel FILE --base FILE",
}
"""How the kernels of these kinds come here; Linux's is fetched."""


def ready(kind: str) -> str:
    """The first guest of a kind whose kernel is in the cache, or nothing."""
    return next((guest.name for guest in images.list_guests() if (guest.kind, guest.state) == (kind, "ready")), "")


def spec_of(wanted: str) -> str:
    """The same guest under the name that its kernel has here; skips where there is none."""
    kind = GuestSpec.parse(wanted).name
    if kind not in ADDING:
        return wanted
    name = ready(kind)
    if not name:
        pytest.skip(f"no {kind} kernel: {ADDING[kind]}")
    return wanted.replace(kind, name, 1)


def record(app: str, spec: str, out: Path, *options: str) -> Recording:
    """Record an app of weaklink's or of ``APPS``, seed 1 if no option says another; skips what cannot be fetched."""
    with pytest.MonkeyPatch.context() as patch:
        if (APPS / app).is_dir():
            patch.setattr(describe, "HERE", APPS)
        code = main(["run", app, "--guests", spec, "--seeds", "1", "--out", str(out), *options])
    if code == FETCH_FAILED:
        pytest.skip(f"the kernel of {spec}, or the source of {app}, cannot be fetched from here")
    assert code == 0
    (place,) = recording.find(out)
    return recording.read(place)


def kind_of(seen: Recording) -> str:
    """The kind of its kernel."""
    return str(seen.manifest["guest"]["kind"])


def failed(seen: Recording) -> list[str]:
    """What verify does not like; coverage depends on the kernel's version and is only ever a note."""
    return [f"{check.phase} {check.name}: {check.detail}" for check in verify(seen) if not check.ok]


def calls(seen: Recording) -> dict[tuple[int, str], int]:
    """How often each operation was asked for in each phase, without what no app asks for."""
    table = seen.calls
    rows = zip(table["phase"], table["operation"], table["calls"], strict=True)
    return {(int(p), str(o)): int(c) for p, o, c in rows if o not in ("interrupt", "page-fault")}


def events_of(seen: Recording) -> pd.DataFrame:
    """The events, with plain strings, and the phase that each belongs to (-1: none)."""
    events = seen.events
    events = events.assign(**{name: events[name].astype(object) for name in ("kind", "name", "how")})
    begins, ends = events["kind"] == "phase-begin", events["kind"] == "phase-end"
    inside = begins.cumsum() - ends.cumsum() > 0
    number = events["value"].where(begins).ffill()
    return events.assign(phase=number.where(inside, -1).fillna(-1).astype(int))
