"""One guest's recording, as the trace commands look at it: some phases, a span of time, some threads."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from analysis.columns import phases as rows_of_phases
from analysis.trace import operations, timeline
from analysis.trace.operations import Calls, Doing
from analysis.trace.timeline import Timeline
from analysis.trace.window import Window, windows
from probes.events import ROLES
from probes.names import MANGLED, readable
from probes.recording import Recording

Strings = Sequence[str]
_MANGLED: Final = re.compile(rf"{MANGLED}\w+")  # in what is a symbol, with an offset, or what points at it


@dataclass(frozen=True)
class Threads:
    """Who the threads of a recording are; a recording may know of none."""

    numbers: npt.NDArray[Any]
    roles: npt.NDArray[Any]  # positions in ROLES
    names: Strings

    def role_of(self, threads: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The role of each of some threads; -1 where it is not known."""
        if not len(self.numbers):
            return np.full(len(threads), -1)
        place = np.minimum(np.searchsorted(self.numbers, threads), len(self.numbers) - 1)
        return np.where(self.numbers[place] == threads, self.roles[place], -1)

    def chosen(self, wanted: str) -> npt.NDArray[Any]:
        """The numbers of the threads that are meant by a number, a role or a name."""
        if wanted.isdecimal():
            return np.array([int(wanted[:18])])
        if wanted in ROLES:
            of_role: npt.NDArray[Any] = self.numbers[self.roles == ROLES.index(wanted)]
            return of_role
        named: npt.NDArray[Any] = self.numbers[np.array([name == wanted for name in self.names], dtype=bool)]
        return named

    def role(self, thread: int) -> str:
        """The role of a thread, "" if it is not known."""
        place = self._place(thread)
        return "" if place is None else ROLES[int(self.roles[place])]

    def name(self, thread: int) -> str:
        """The name that the kernel has for a thread, "" if it is not known."""
        place = self._place(thread)
        return "" if place is None else self.names[place]

    def title(self, thread: int) -> str:
        """Number, role and name of a thread, as far as they are known."""
        return " ".join(filter(None, (str(thread), self.role(thread), self.name(thread))))

    def _place(self, thread: int) -> int | None:
        place = int(np.searchsorted(self.numbers, thread))
        return place if place < len(self.numbers) and self.numbers[place] == thread and self.roles[place] >= 0 else None


@dataclass(frozen=True)
class Trace:
    """A recording and what of it is asked for.  ``phases`` are numbers, of windows whose events are there."""

    guest: str
    recording: Recording
    phases: tuple[int, ...]
    since: int = 0
    until: int | None = None
    thread: str | None = None

    @cached_property
    def threads(self) -> Threads:
        """The recording's threads."""
        table = self.recording.table("threads", ["thread", "role", "name"])
        numbers = table["thread"].to_numpy()
        order = np.argsort(numbers, kind="stable")
        role = {name: code for code, name in enumerate(ROLES)}
        roles = np.array([role.get(name, -1) for name in table["role"].to_pylist()], dtype=np.int64)
        names = table["name"].to_pylist()
        return Threads(numbers[order], roles[order], [names[place] for place in order.tolist()])

    def windows(self, kinds: Collection[str], columns: Collection[str] = ("how", "name")) -> Iterator[Window]:
        """See ``analysis.trace.window.windows``."""
        yield from windows(self.recording, self.phases, kinds, since=self.since, until=self.until, columns=columns)

    def lines(self, more: Collection[str] = (), columns: Collection[str] = ("how", "name")
              ) -> Iterator[tuple[Timeline, Calls, Doing]]:  # fmt: skip
        """Timeline, operations, and what threads did, of each window; ``more`` kinds of events than those need."""
        for window in self.windows({*timeline.NEEDED, *operations.NEEDED, *more}, columns):
            line = timeline.timeline(window)
            calls = operations.operations(line)
            yield line, calls, Doing(line, calls, self.threads.role_of(line.threads))

    def mine(self, line: Timeline) -> npt.NDArray[np.bool_]:
        """Which of a timeline's threads are asked for."""
        if self.thread is None:
            return np.ones(len(line.threads), dtype=bool)
        return np.isin(line.threads, self.threads.chosen(self.thread))

    def knows(self, thread: str) -> bool:
        """Whether there may be such a thread: a number may be of one that the recording only has events of."""
        return thread.isdecimal() or thread in ROLES or bool(len(self.threads.chosen(thread)))

    @cached_property
    def locks(self) -> dict[int, str]:
        """The names of locks that have one, by address."""
        table = self.recording.table("locks")
        names = (_MANGLED.sub(lambda found: readable(found[0]), name) for name in table["name"].to_pylist())
        return dict(zip(table["address"].to_pylist(), names, strict=True))

    @property
    def who(self) -> str:
        """The threads that are asked for, behind a noun."""
        return "" if self.thread is None else f" of thread {self.thread}"

    def hint(self, *capabilities: str, other: str = "choose another --phase, --thread, --since or --until") -> str:
        """What would make visible what there is nothing of."""
        return " ".join(self.unseen(*capabilities)) or other

    def unseen(self, *capabilities: str) -> list[str]:
        """A sentence for each of some capabilities that the recording does not have."""
        able = self.recording.manifest["probe"]["capabilities"]
        return [f"{name} were not seen: {able[name]['reason']}" for name in capabilities
                if name in able and not able[name]["available"]]  # fmt: skip

    @property
    def where(self) -> str:
        """What is looked at, in a word or two."""
        names = self.phase_names
        where = f"phase {names[0]}" if len(names) == 1 else f"{len(names)} phases"
        if self.since or self.until is not None:
            where += f" from {self.since:,} ns to {'its end' if self.until is None else f'{self.until:,} ns'}"
        return where

    @property
    def phase_names(self) -> list[str]:
        """The names of the phases."""
        names = dict(rows_of_phases(self.recording, ("number", "name")))
        return [str(names.get(number, number)) for number in self.phases]
