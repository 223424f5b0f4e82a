"""What two observers saw of the same threads, held against each other call by call: equal, explained, or a difference.

Neither side is believed more than the other.  An explanation is a rule of the observer's (``freebsd.py``, ``osv.py``,
``scheduling.py``; strace needs none) that fits one event by what was seen of it; nothing is explained by how small it
is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import Final

OK: Final = "ok"
FAILED: Final = "failed"
NEVER: Final = "never"
"""Went in and did not come out again while somebody looked."""
UNKNOWN: Final = ""
_MOST_PAIRS: Final = 2_000_000


class Missing(Exception):
    """Something that a comparison wants is not on this machine: what, in a line, with the way to get it."""


class Malformed(ValueError):
    """What an observer left is not what it leaves, or the two did not watch the same."""


@dataclass(frozen=True)
class Call:
    """One event of a thread: its name, and how it ended.  ``note`` is what only its observer knows, for the rules."""

    name: str
    result: str = UNKNOWN
    note: str = ""

    def __str__(self) -> str:
        """As it is shown."""
        return f"{self.name}{f' {self.result}' if self.result else ''}{f' ({self.note})' if self.note else ''}"


@dataclass
class Thread:
    """What an observer saw of a thread: its calls, and the numbers of the threads that it made, in order."""

    calls: list[Call] = field(default_factory=list)
    made: list[int] = field(default_factory=list)


Explain = Callable[[Call | None, Call | None], str]
"""Says why the guest's own observer has the first and the probe the second (None: not at all); "" if it cannot."""


def unexplained(guest: Call | None, probe: Call | None) -> str:
    """No rule at all."""
    return ""


@dataclass
class Comparison:
    """What came of it: how many events the two had alike, and what was explained or not."""

    program: str
    threads: int = 0
    alike: int = 0
    results: int = 0
    """Of those alike, how many had a result on both sides."""
    explained: Counter[str] = field(default_factory=Counter)
    unsaid: Counter[str] = field(default_factory=Counter)
    """Why those alike have no result on one side."""
    differences: list[str] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        """Whether everything that differs has a reason, and there was something to compare."""
        return not self.differences and self.alike > 0


def compare(into: Comparison, thread: str, guest: Sequence[Call], probe: Sequence[Call],
            explain: Explain = unexplained) -> None:  # fmt: skip
    """Add what a thread did, as the guest's own observer and the probe saw it."""
    into.threads += 1
    for one, other in _aligned(guest, probe, explain):
        if one and other and one.name == other.name and UNKNOWN in (one.result, other.result):
            into.alike += 1
            if one.result != other.result:
                into.unsaid[one.note or other.note or "not recorded"] += 1
        elif one and other and (one.name, one.result) == (other.name, other.result):
            into.alike += 1
            into.results += 1
        elif reason := explain(one, other):
            into.explained[reason] += 1
        else:
            into.differences.append(f"{thread}: the guest has {one or 'nothing'}, the probe {other or 'nothing'}")


Pair = tuple[Call | None, Call | None]


def _aligned(guest: Sequence[Call], probe: Sequence[Call], explain: Explain) -> Iterator[Pair]:
    """Pair events in order, so that as few as can be are without explanation."""
    same = 0
    while same < min(len(guest), len(probe)) and _alike(guest[same], probe[same]):
        same += 1
    yield from zip(guest[:same], probe[:same], strict=True)
    guest, probe = guest[same:], probe[same:]
    if len(guest) * len(probe) <= _MOST_PAIRS:
        yield from _fewest(guest, probe, explain)
        return
    names = [one.name for one in guest], [one.name for one in probe]
    for what, first, last, start, end in SequenceMatcher(None, *names, autojunk=False).get_opcodes():
        if what == "equal" or (last - first) * (end - start) > _MOST_PAIRS:
            yield from zip_longest(guest[first:last], probe[start:end])
        else:
            yield from _fewest(guest[first:last], probe[start:end], explain)


def _alike(one: Call, other: Call) -> bool:
    return one.name == other.name and (one.result == other.result or UNKNOWN in (one.result, other.result))


def _fewest(guest: Sequence[Call], probe: Sequence[Call], explain: Explain) -> Iterator[Pair]:
    # For what is left from each place on: how many stay without explanation at best, and by which step.
    lost = [not explain(one, None) for one in guest]
    found = [not explain(None, other) for other in probe]
    best: dict[tuple[int, int], tuple[int, int, int]] = {(len(guest), len(probe)): (0, 0, 0)}
    for at in range(len(guest), -1, -1):
        for to in range(len(probe), -1, -1):
            steps = []
            if at < len(guest) and to < len(probe):
                wrong = not (_alike(guest[at], probe[to]) or explain(guest[at], probe[to]))
                if not wrong or guest[at].name == probe[to].name:
                    steps.append((best[at + 1, to + 1][0] + wrong, 1, 1))
            if at < len(guest):
                steps.append((best[at + 1, to][0] + lost[at], 1, 0))
            if to < len(probe):
                steps.append((best[at, to + 1][0] + found[to], 0, 1))
            if steps:
                best[at, to] = min(steps, key=lambda step: step[0])
    at = to = 0
    while (at, to) != (len(guest), len(probe)):
        _, down, right = best[at, to]
        yield guest[at] if down else None, probe[to] if right else None
        at, to = at + down, to + right
