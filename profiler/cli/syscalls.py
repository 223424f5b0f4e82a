"""``weaklink syscalls DIR``: what the app asked for, how often, at what cost."""

from __future__ import annotations

import argparse
from typing import Any

from profiler.cli import traces


def add(verbs: Any) -> None:
    """Declare the verb."""
    parser = traces.add(
        verbs, "syscalls", "what the app asked for, how often, at what cost",
        "A row per operation, costliest first: how often, failures, instructions that the thread executed, time off"
        " the CPU. The outermost call counts: read, if the kernel answers it by a pread of its own.",
    )  # fmt: skip
    parser.add_argument("--nested", action="store_true", help="the bare system calls inside, instead of operations")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do it."""
    from analysis.trace.syscalls import answer

    return traces.run(arguments, lambda trace: answer(trace, nested=arguments.nested))
