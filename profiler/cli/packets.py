"""``weaklink packets DIR``: packets by direction and operation."""

from __future__ import annotations

import argparse
from typing import Any

from profiler.cli import events, traces


def add(verbs: Any) -> None:
    """Declare the verb."""
    parser = traces.add(
        verbs, "packets", "packets by direction and operation",
        "A row per direction, operation and function of the kernel: packets and their bytes.",
    )  # fmt: skip
    parser.add_argument("--list", action="store_true", help="packet by packet, in order")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do it."""
    if arguments.list:
        return events.show(arguments, *traces.chosen(arguments), ["packet"])
    from analysis.trace.packets import answer

    return traces.run(arguments, answer)
