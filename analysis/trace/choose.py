"""Which recordings, and which of their phases, a trace command is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis.columns import phases as rows_of_phases
from analysis.text import listed, some
from analysis.trace.trace import Trace
from analysis.vcpus import statistical
from probes.events import ROLES
from probes.recording import Recording
from profiler.errors import NothingToShow, UsageError


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
    if not events and (wanted.since is not None or wanted.until is not None):
        raise UsageError("the ledger has whole phases: there is no --since or --until in it",
                         hint="leave them out, or see `weaklink events`")  # fmt: skip
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
    gone: dict[str, list[str]] = {}  # what is lacking -> of which guests
    for guest, one in chosen.items():
        usable[guest], lacking = _phases(guest, one, wanted, events, notes)
        if lacking:
            what = f"the events of {lacking[0] if len(lacking) == 1 else f'{len(lacking)} phases'}"
            gone.setdefault(what, []).append(guest)
    notes += [f"{listed(guests)}: packed without {what}: record again, or pack the recordings without --events."
              for what, guests in gone.items()]  # fmt: skip
    usable = {guest: phases for guest, phases in usable.items() if phases}
    common = [name for name in declared if all(name in phases for phases in usable.values())]
    if not usable or not common:
        raise NothingToShow(
            " ".join(notes) or "no phase is there on all guests",
            hint=_kept(recordings, chosen) if gone else "name another --phase or --guest",
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
    if wanted.thread is not None and not any(one.knows(wanted.thread) for one in traces):
        there = dict.fromkeys(name for one in traces for name in one.threads.names if name)
        raise NothingToShow(f"there is no thread {wanted.thread[:80]!r}",
                            hint=f"by number, role ({', '.join(ROLES)}), or name: {some(list(there), 12)}")  # fmt: skip
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


def _kept(recordings: Sequence[Recording], chosen: Mapping[str, Recording]) -> str:
    """What to name instead where a packed recording does not have the events that are asked for."""
    there = [(one, number, name) for one in recordings if one.spec in chosen
             for number, name in rows_of_phases(one, ("number", "name"))
             if one.events_kept is None or number in one.events_kept]  # fmt: skip
    mine = dict.fromkeys(name for one, _, name in there if chosen[one.spec] is one)
    seeds = sorted({str(one.seed) for one, _, _ in there}, key=int)
    if mine:
        return f"there are events of {some(list(mine), 20)}"
    return f"there are events under seed {some(seeds, 8)}" if seeds else "record again, or pack without --events"


def _phases(guest: str, one: Recording, wanted: Wanted, events: bool, notes: list[str]
            ) -> tuple[dict[str, int], list[str]]:  # fmt: skip
    """The phases of a recording that can be shown, and those whose events it lacks; why not others is noted."""
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
    return found, gone
