"""``weaklink waits DIR``: what threads waited for, and why the machine was idle."""

from __future__ import annotations

import argparse
from typing import Any

from profiler.cli import traces


def add(verbs: Any) -> None:
    """Declare the verb."""
    parser = traces.add(
        verbs, "waits", "what threads waited for, why the machine was idle",
        "Time off the CPU by thread role, operation, and what ended it (a thread in an operation, a timer, a device),"
        " time in the run queue, and idle time by who then could go on.",
    )  # fmt: skip
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--graph", action="store_true", help="who waits for whom, and who for one another only, instead")
    how.add_argument("--roots", action="store_true", help="what waits come down to through all that wait, instead")
    how.add_argument("--path", action="store_true", help="the critical path of each operation, instead")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do it."""
    from analysis.trace import graph, paths, waits

    chosen = (arguments.graph, graph.answer), (arguments.roots, graph.roots), (arguments.path, paths.answer)
    return traces.run(arguments, next((answer for asked, answer in chosen if asked), waits.answer))
