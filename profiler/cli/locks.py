"""``weaklink locks DIR``: who waited for which lock, and how long."""

from __future__ import annotations

import argparse
from typing import Any

from profiler.cli import traces


def add(verbs: Any) -> None:
    """Declare the verb."""
    parser = traces.add(
        verbs, "locks", "who waited for which lock, how long, and who let it go on",
        "A row per lock and operation of the waiter: how often it had to wait, how long, sleeping or spinning, and what"
        " the thread was doing whose wake-up ended the wait. Several guests stand side by side by operation.",
    )  # fmt: skip
    parser.add_argument("--stacks", action="store_true", help="by the waiter's stack too (recorded with --stacks)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do it."""
    from analysis.trace.locks import answer

    return traces.run(arguments, lambda trace: answer(trace, stacks=arguments.stacks))
