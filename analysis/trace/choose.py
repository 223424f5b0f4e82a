"""Which recordings, and which of their phases, a trace command is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.columns import phases as rows_of_phases
from analysis.text import listed, some
from analysis.trace.trace import Trace
from analysis.vcpus import statistical
from probes.recording import Recording
from profiler.errors import NothingToShow, UsageError

_KEEP = "record it again, or pack the recordings without --events"


@dataclass(frozen=True)
class Wanted:
    """What was asked for; empty or None is whatever there is.  ``since`` and ``until``: ns from a phase's begin."""

    guests: Sequence[str] = ()
    phase: str | None = None
    thread: str | None = None
    since: int | None = None
    until: int | None = None
    seed: int | None = None


def choose(recordings: Sequence[Recording], wanted: Wanted, *, events: bool = True) -> tuple[list[Trace], list[str]]:
    """A trace for each guest, with the phases that all have, and sentences on what was left out.

    ``events`` says that the events of the phases are needed.  Raises UsageError for what is not in the recordings, and
    NothingToShow if nothing is left.
    """
    apps = sorted({one.manifest["app"]["name"] for one in recordings})
    if len(apps) > 1:
        raise UsageError(f"these are recordings of several apps: {some(apps, 4)}", hint="name those of one app")
    chosen = _seeds(recordings, wanted)
    declared = list(
        dict.fromkeys(name for one in chosen.values() for _, name in rows_of_phases(one, ("number", "name")))
    )
    if wanted.phase is not None and wanted.phase not in declared:
        raise UsageError(f"there is no phase {wanted.phase[:80]!r}", hint=f"phases: {some(declared, 40)}")
    usable: dict[str, dict[str, int]] = {}
    notes: list[str] = []
    for guest, one in chosen.items():
        usable[guest] = _phases(guest, one, wanted, events, notes)
    usable = {guest: phases for guest, phases in usable.items() if phases}
    common = [name for name in declared if all(name in phases for phases in usable.values())]
    if not usable or not common:
        raise NothingToShow(
            " ".join(notes) or "no phase is there on all guests", hint="name another --phase or --guest"
        )
    if apart := [name for name in declared if name not in common and any(name in one for one in usable.values())]:
        notes.append(f"Not on all of these guests, and left out: {some(apart, 6)}.")
    if (wanted.since is not None or wanted.until is not None) and len(common) > 1:
        raise UsageError(
            "--since and --until count from a phase's begin", hint=f"name it with --phase: {some(common, 40)}"
        )
    traces = [
        Trace(
            guest, chosen[guest], tuple(phases[name] for name in common), wanted.since or 0, wanted.until, wanted.thread
        )
        for guest, phases in usable.items()
    ]
    notes += dict.fromkeys(said for one in traces if (said := statistical(one.recording.manifest)))
    return traces, notes


def _seeds(recordings: Sequence[Recording], wanted: Wanted) -> dict[str, Recording]:
    """The recording of each guest that is asked for: of a seed, else of its first."""
    guests = list(dict.fromkeys(one.spec for one in recordings))
    if strangers := [guest for guest in wanted.guests if guest not in guests]:
        raise UsageError(
            f"there are no recordings of {strangers[0][:80]!r}", hint=f"there are some of {some(guests, 20)}"
        )
    chosen = {}
    for guest in wanted.guests or guests:
        of_guest = sorted((one for one in recordings if one.spec == guest), key=lambda one: one.seed)
        if wanted.seed is not None and wanted.seed not in [one.seed for one in of_guest]:
            seeds = listed([str(one.seed) for one in of_guest])
            raise UsageError(f"there is no seed {wanted.seed} of {guest}", hint=f"seeds of it: {seeds}")
        chosen[guest] = next(one for one in of_guest if wanted.seed in (None, one.seed))
    return chosen


def _phases(guest: str, one: Recording, wanted: Wanted, events: bool, notes: list[str]) -> dict[str, int]:
    """The phases of a recording that can be shown; why others cannot is noted."""
    found, kept = {}, one.events_kept
    gone = []
    for number, name, status, reason, instructions in rows_of_phases(
        one, ("number", "name", "status", "reason", "instructions")
    ):
        if wanted.phase not in (None, name):
            continue
        if instructions is None:
            if wanted.phase is not None:
                notes.append(f"{guest}: {name} is {status}{f': {reason}' if reason else ''}.")
        elif events and kept is not None and number not in kept:
            gone.append(name)
        else:
            found[name] = number
    if gone:
        what = f"the events of {gone[0]}" if len(gone) == 1 else f"the events of {len(gone)} phases"
        notes.append(f"{guest}: this recording was packed without {what}: {_KEEP}.")
    return found
