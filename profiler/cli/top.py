"""``weaklink top DIR``: where the instructions went."""

from __future__ import annotations

import argparse
from typing import Any, Final

from profiler.cli import traces
from profiler.errors import UsageError

_BY: Final = ("function", "layer", "operation", "role")


def add(verbs: Any) -> None:
    """Declare the verb."""
    parser = traces.add(
        verbs, "top", "where the instructions went: functions, layers, operations",
        "A row per function (or --by), from the ledger: instructions, their share, calls, instructions per call, and"
        " instructions that are dear on hardware. Threads are known by role here.",
    )  # fmt: skip
    parser.add_argument("--by", choices=_BY, help="default: function")
    parser.add_argument("--stacks", action="store_true", help="call stacks instead (recorded with --stacks)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do it."""
    from analysis.trace import top

    if arguments.stacks and arguments.by:
        raise UsageError("--stacks and --by are two tables", hint="leave out one")
    if arguments.stacks:
        return traces.run(arguments, top.stacks, events=False)
    return traces.run(arguments, lambda trace: top.answer(trace, arguments.by or "function"), events=False)
