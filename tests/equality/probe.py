"""What the probe recorded, as calls per thread."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pandas as pd

from probes.recording import Recording
from tests.equality.sequences import NEVER, Call, Thread

SWITCH: Final = "switch"
FOR_KERNEL: Final = "switch for a thread of the kernel's"


def threads(seen: Recording, *, switches: bool = False) -> dict[int, Thread]:
    """Give the threads that called the kernel, were made, or made others, in order of appearance.

    With ``switches``, a ``switch`` stands among a thread's calls wherever it stopped, with the reason for its result;
    it has a name of its own where a thread goes on that makes no calls.
    """
    events = seen.frame("events", ["thread", "kind", "name", "how", "value"])
    found: dict[int, Thread] = {}
    for thread, name, result, note in rows(events_of(events, switches=switches)):
        found.setdefault(thread, Thread()).calls.append(Call(name, result, note))
    for maker, made in rows(events.loc[events["kind"] == "thread-new", ["thread", "value"]]):
        found.setdefault(maker, Thread()).made.append(made)
        found.setdefault(made, Thread())
    return found


def rows(frame: pd.DataFrame) -> Iterator[tuple[Any, ...]]:
    """Give the rows of a table as plain tuples."""
    return zip(*(frame[column].tolist() for column in frame), strict=True)


def events_of(events: pd.DataFrame, *, kind: str = "syscall", switches: bool = False) -> pd.DataFrame:
    """Give thread, name, result and note of each system call (or ``op``) that began; a thread is in one at a time."""
    enter, leave = f"{kind}-enter", f"{kind}-exit"
    calls = events[events["kind"].isin([enter, leave])].sort_values("thread", kind="stable")
    after = calls.shift(-1)
    ended = (after["thread"] == calls["thread"]) & (after["kind"] == leave) & (after["name"] == calls["name"])
    how = after["how"].astype(object).where(ended, NEVER)
    rows = calls.assign(result=how, note="", name=calls["name"].astype(object))[calls["kind"] == enter]
    if switches:
        stops = events[events["kind"] == "switch"]
        name = stops["value"].isin(calls["thread"].unique()).map({True: SWITCH, False: FOR_KERNEL})
        rows = pd.concat([rows, stops.assign(result=stops["how"].astype(object), note="", name=name)])
    return rows[["thread", "name", "result", "note"]].sort_index(kind="stable")
