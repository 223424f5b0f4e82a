"""``weaklink waits DIR``: what threads waited for, and why the machine was idle."""

from __future__ import annotations

import argparse
from typing import Any

from profiler.cli import traces


def add(verbs: Any) -> None:
    """Declare the verb."""
    traces.add(
        verbs, "waits", "what threads waited for, why the machine was idle",
        "Time off the CPU by thread role, operation, and what ended it (a thread in an operation, a timer, a device),"
        " time in the run queue, and idle time by who then could go on.",
    ).set_defaults(run=run)  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Do it."""
    from analysis.trace.waits import answer

    return traces.run(arguments, answer)
