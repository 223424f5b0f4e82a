"""Who ran when on one CPU, who woke whom and who waited for a lock, as one sequence of events with threads as letters.

Both sides name threads in their own way, so each gets labels in order of appearance in its own switches; equal switches
make equal labels.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

import pandas as pd

from tests.equality.probe import rows
from tests.equality.sequences import UNKNOWN, Call
from tests.equality.tracepoints import Record

RUNNABLE: Final = "runnable"
WAITING: Final = "waiting"
WOKEN: Final = "woken"
_RUNNING: Final = "running"
_OF_THREADS: Final = ("sched_switch", "sched_wake", "thread_create")
_STOPPED: Final = {"preempted": RUNNABLE, "yielded": RUNNABLE, "blocked": WAITING, "exited": WAITING}
_LOCK: Final = {"lock-contended": "lock", "lock-acquired": "locked"}
_MUTEX_LOCK: Final = "_ZN8lockfree5mutex4lockEv"
_FUTEX: Final = re.compile(r"_Z5futexP\w+ in futex")


class Labels:
    """Letters for threads, by the switches of one observer."""

    def __init__(self, switches: Iterable[tuple[int, int]]) -> None:
        self._labels: dict[int, str] = {}
        for pair in switches:
            for thread in pair:
                self._labels.setdefault(thread, f"T{len(self._labels)}")

    def __getitem__(self, thread: int) -> str:
        """Give the label; a thread that never ran in the window has none of its own."""
        return self._labels.get(thread, "another")


def labels_of_ring(records: Iterable[Record]) -> Labels:
    """Give labels by what the ring has of switches."""
    return Labels((record.thread, _thread(record)) for record in records if record.name == "sched_switch")


def labels_of_probe(events: pd.DataFrame) -> Labels:
    """Give labels by what the probe saw of switches."""
    switches = events[events["kind"] == "switch"]
    return Labels(zip(switches["thread"].tolist(), switches["value"].tolist(), strict=True))


def numbered(ring: Sequence[Record]) -> list[Record]:
    """Give the same records with numbers for threads: an address may be another thread's once one was made there."""
    numbers: dict[int, int] = {}
    made = 0
    found = []
    for record in ring:
        arguments = record.arguments
        if record.name == "thread_create":
            made += 1
            numbers[_thread(record)] = made
        thread = numbers.setdefault(record.thread, -1 - len(numbers) - made)
        if record.name in _OF_THREADS:
            arguments = (numbers.setdefault(_thread(record), -1 - len(numbers) - made), *arguments[1:])
        found.append(replace(record, thread=thread, arguments=arguments))
    return found


def of_ring(ring: Sequence[Record], first: int, last: int) -> list[Call]:
    """Give what the records from ``first`` to before ``last`` say; those before say in which state threads were."""
    labels = labels_of_ring(ring[first:last])
    state: dict[int, str] = {}
    waits: dict[int, str] = {}
    found: list[Call] = []
    for at, record in enumerate(ring[:last]):
        me, call = record.thread, None
        if record.name == "sched_preempt":
            state[me] = RUNNABLE  # it is about to be switched away from though it could run on
        elif record.name == "sched_switch":
            stopped = RUNNABLE if state.get(me) == RUNNABLE else WAITING
            call = Call(f"switch {labels[me]} {labels[_thread(record)]}", stopped)
            state[me], state[_thread(record)] = stopped, _RUNNING
            waits[me] = "slept" if stopped == WAITING else waits.get(me, "")
        elif record.name == "sched_wake":
            other = _thread(record)
            was = state.get(other, WAITING)
            call = Call(f"{'wake' if was == WAITING else 'attempt'} {labels[me]} {labels[other]}", UNKNOWN, was)
            state[other] = WOKEN if was == WAITING else was
        elif record.name == "thread_create":
            call = Call(f"new {labels[me]} {labels[_thread(record)]}")
        elif record.name == "mutex_lock_wait":
            call, waits[me] = Call(f"lock {labels[me]} {record.arguments[0]:x}"), "spun"
        elif record.name == "mutex_lock_wake":
            call = Call(f"locked {labels[me]} {record.arguments[0]:x}", waits.get(me, UNKNOWN))
        if call and at >= first:
            found.append(call)
    return found


def of_probe(events: pd.DataFrame) -> list[Call]:
    """Give what the events of one CPU say."""
    labels = labels_of_probe(events)
    found: list[Call] = []
    within: dict[int, str] = {}
    for thread, kind, name, how, value in rows(events[["thread", "kind", "name", "how", "value"]]):
        if kind in ("syscall-enter", "syscall-exit"):
            within[thread] = name if kind == "syscall-enter" else ""
        elif kind == "switch":
            found.append(Call(f"switch {labels[thread]} {labels[value]}", _STOPPED.get(how, UNKNOWN)))
        elif kind == "wake":
            found.append(Call(f"{'attempt' if how == 'awake' else 'wake'} {labels[thread]} {labels[value]}"))
        elif kind == "thread-new":
            found.append(Call(f"new {labels[thread]} {labels[value]}"))
        elif kind in _LOCK:
            result = how if kind == "lock-acquired" else UNKNOWN
            note = "" if name == _MUTEX_LOCK else f"{name} in {within.get(thread) or 'no call'}"
            found.append(Call(f"{_LOCK[kind]} {labels[thread]} {value:x}", result, note))
    return found


def explain(guest: Call | None, watched: Call | None) -> str:
    """The rules.  Each looks at what was seen of the one event, on both sides."""
    if guest and watched is None and guest.name.startswith("attempt "):
        return f"attempts to wake a thread that is {guest.note}: the tracepoint stands before the look"
    if watched and guest is None and watched.name.startswith("lock") and _FUTEX.fullmatch(watched.note):
        return "waits in futex(), which has no tracepoint but the system call's own"
    return ""


def _thread(record: Record) -> int:
    value = record.arguments[0]
    assert isinstance(value, int)
    return value
