"""``weaklink stacks DIR --folded``: counted call stacks, for tools that draw flame graphs."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.trace.trace import Trace


def add(verbs: Any) -> None:
    """Declare the verb."""
    parser: argparse.ArgumentParser = verbs.add_parser(
        "stacks",
        help="call stacks, for flamegraph.pl or speedscope",
        description="Writes a line per call stack of a recording made with `weaklink run --stacks`: the functions, the"
        " outermost first, and the instructions executed in the innermost. `weaklink top --stacks` shows them as a"
        " table, `weaklink report` as flame graphs.",
    )
    parser.add_argument("recordings", type=Path, nargs="+", metavar="DIR",
                        help="the --out directory of a `weaklink run`, or a file of `weaklink pack`")  # fmt: skip
    parser.add_argument("--folded", action="store_true", required=True, help="in the format of flamegraph.pl")
    parser.add_argument("--guest", metavar="SPEC", help="of this guest, as in linux; needed where there are several")
    parser.add_argument("--phase", metavar="NAME", help="only this phase (default: all together)")
    parser.add_argument("--operation", metavar="NAME", help="only what was done for this operation, as in read")
    parser.add_argument("--seed", type=int, metavar="N", help="default: the first of the guest")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do it."""
    import sys

    from analysis.trace.choose import Wanted, choose
    from profiler.cli.recordings import load
    from profiler.errors import UsageError

    recordings = [one for root in arguments.recordings for one in load(root)]
    guests = [arguments.guest] if arguments.guest else []
    traces, _ = choose(recordings, Wanted(guests, arguments.phase, seed=arguments.seed), events=False)
    if len(traces) > 1:
        named = ", ".join(trace.guest for trace in traces)
        raise UsageError("there are several guests", hint=f"name one with --guest: {named}")
    sys.stdout.writelines(_lines(traces[0], arguments.operation))
    return 0


def _lines(trace: Trace, operation: str | None) -> Iterator[str]:
    """All lines; NothingToShow if there are none."""
    from analysis.views.folded import folded
    from profiler.errors import NothingToShow

    lines = folded(trace.recording, trace.phases, operation)
    first = next(lines, None)
    if first is None:
        without = not trace.recording.manifest["probe"].get("stacks")
        hint = "record it with --stacks" if without else "name another --phase or --operation"
        raise NothingToShow(f"the recording of {trace.guest} has no such stacks", hint=hint)
    yield first
    yield from lines
