"""``weaklink events DIR``: what happened, in order."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from profiler.cli import traces

if TYPE_CHECKING:
    from analysis.trace.trace import Trace

_KINDS: Final = (
    "phase-begin", "phase-end", "op-enter", "op-exit", "syscall-enter", "syscall-exit", "switch", "wake",
    "lock-contended", "fault-enter", "fault-exit", "irq-enter", "irq-exit", "idle-begin", "idle-end",
    "lock-acquired", "thread-new", "thread-exit", "packet",
)  # fmt: skip
"""``probes.events.EVENT_KINDS``, which would take 100 ms to import; a test holds them alike."""


def add(verbs: Any) -> None:
    """Declare the verb."""
    parser = traces.add(
        verbs, "events", "what happened, in order",
        "A line per event: virtual time since the phase began, thread, event, indented by what it happened in.",
    )  # fmt: skip
    parser.add_argument("--kind", action="append", default=[], choices=_KINDS, metavar="KIND",
                        help=f"only events of this kind; may be given again: {', '.join(_KINDS)}")  # fmt: skip
    parser.add_argument("--stacks", action="store_true", help="with the stack of each (recorded with --stacks)")
    parser.set_defaults(run=run)


_SEEN_BY: Final = {
    "op": "operations", "syscall": "system calls", "switch": "context switches", "wake": "wake-ups",
    "lock": "lock slow paths", "fault": "page faults", "irq": "interrupts", "idle": "idle time", "packet": "packets",
    "thread-new": "new threads", "thread-exit": "ends of threads",
}  # fmt: skip
"""The probe's capability that shows the events of a kind, by its name or how that begins."""


def run(arguments: argparse.Namespace) -> int:
    """Do it."""
    return show(arguments, *traces.chosen(arguments), arguments.kind)


def show(arguments: argparse.Namespace, traced: Sequence[Trace], notes: Sequence[str], kinds: Sequence[str]) -> int:
    """Write the events of each guest as they are read; raises NothingToShow if none has any."""
    from analysis.trace.listing import events
    from analysis.trace.stacks import Stacks
    from profiler.errors import NothingToShow

    stacks = getattr(arguments, "stacks", False)
    if stacks and (without := [one.guest for one in traced if not len(Stacks(one.recording))]):
        raise NothingToShow(f"the recording of {without[0]} has no stacks", hint="record it with --stacks")
    found, empty = [], []
    for one in traced:
        pieces = _limited(events(one, kinds, stacks=stacks), arguments.limit)
        if (first := next(pieces, None)) is not None:
            found.append((one, chain([first], pieces)))
            continue
        what = f"event of kind {', '.join(kinds)}" if kinds else "event"
        hint = one.hint(
            *dict.fromkeys(_SEEN_BY.get(kind) or _SEEN_BY.get(kind.partition("-")[0], "") for kind in kinds)
        )
        empty.append(NothingToShow(f"{one.guest} has no {what}{one.who} in {one.where}", hint=hint))
    if not found:
        raise traces.nothing(empty)
    for place, (one, pieces) in enumerate(found):
        _write(arguments.format, one, pieces, place, len(found))
    traces.say(arguments.format, [*notes, *(f"{nothing}: {nothing.hint}." for nothing in empty)])
    return 0


def _limited(pieces: Iterable[list[Any]], limit: int | None) -> Iterator[list[Any]]:
    for piece in pieces:
        if limit is not None and len(piece) >= limit:
            yield piece[:limit]
            return
        yield piece
        limit = None if limit is None else limit - len(piece)


def _write(style: str, one: Trace, pieces: Iterable[list[Any]], place: int, many: int) -> None:
    from analysis.views import events as view
    from analysis.views.trace import sentences

    guest, seed = one.guest, one.recording.seed
    if style == "csv":
        traces.write(view.comma_separated(guest, seed, pieces, head=not place))
    elif style == "json":
        traces.write(view.as_json(guest, seed, pieces, first=not place, last=place == many - 1))
    else:
        traces.write(sentences([f"{guest}, seed {seed}, {one.where}"], traces.width()))
        traces.write(view.text(pieces, one.threads, one.locks, traces.width()))
