"""``weaklink switches DIR``: why threads stopped, and how long they waited to run."""

from __future__ import annotations

import argparse
from typing import Any

from profiler.cli import traces


def add(verbs: Any) -> None:
    """Declare the verb."""
    parser = traces.add(
        verbs, "switches", "why threads stopped, how long they then waited to run",
        "A row per thread: switches by why it stopped, time on the CPU, latency of wake-ups, time in the run queue, and"
        " who woke it most. Several guests stand side by side by the role of threads.",
    )  # fmt: skip
    parser.add_argument("--pairs", action="store_true", help="which thread was switched to which, instead")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do it."""
    from analysis.trace.switches import answer

    return traces.run(arguments, lambda trace: answer(trace, pairs=arguments.pairs))
