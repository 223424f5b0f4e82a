"""``weaklink guests list``: which guests there are."""

from __future__ import annotations

import argparse
from typing import Any


def add(verbs: Any) -> None:
    """Declare the verb."""
    parser: argparse.ArgumentParser = verbs.add_parser("guests", help="list guests", description="What can be booted.")
    inner = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    listing = inner.add_parser("list", help="one line per guest", description="One line per guest; fetches nothing.")
    listing.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do it."""
    from images import list_guests

    rows = [("GUEST", "KERNEL", "STATE", "RUNTIMES", "DESCRIPTION")]
    rows += [
        (guest.name, guest.version or "-", guest.state, ",".join(guest.runtimes), guest.description)
        for guest in list_guests()
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for *cells, last in rows:
        print("  ".join([*(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)), last]))
    return 0
