"""``weaklink guests``: which guests there are, and kernels of one's own among them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from profiler.cli import pull


def add(verbs: Any) -> None:
    """Declare the verbs."""
    from images import kinds  # looks into a folder, imports nothing

    parser: argparse.ArgumentParser = verbs.add_parser(
        "guests", help="list guests, fetch a released kernel, add one of your own", description="What can be booted."
    )
    inner = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    listing = inner.add_parser("list", help="one line per guest", description="One line per guest; fetches nothing.")
    listing.set_defaults(run=run)
    pull.add(inner)
    adding = inner.add_parser(
        "add", help="add a kernel of your own",
        description="Copies a kernel and its symbols into the cache and makes them a guest of that name, which boots as"
        " the other guests of its kind do. Nothing of the files is run here.",
    )  # fmt: skip
    adding.add_argument("name", metavar="NAME", help="a lower-case word that no other guest has")
    adding.add_argument("--kind", required=True, choices=kinds(), help="what kind of kernel it is")
    adding.add_argument(
        "--kernel", required=True, type=Path, metavar="FILE",
        help="linux: a vmlinux or a bzImage (vmlinuz); osv: a loader.elf; freebsd: a kernel",
    )  # fmt: skip
    adding.add_argument(
        "--symbols", type=Path, metavar="FILE",
        help="the file of the same build that has the symbols: a System.map, vmlinux, loader.elf or kernel.debug"
        " (default: what the kernel itself holds)",
    )  # fmt: skip
    adding.add_argument(
        "--base", type=Path, metavar="DIR|TARBALL", help="freebsd: the base system that apps are built against"
    )
    adding.add_argument("--provenance", default="", metavar="TEXT", help='where it is from, as in "built from source"')
    adding.add_argument("--replace", action="store_true", help="put it in the place of an added guest of that name")
    adding.set_defaults(run=take)
    verifying = inner.add_parser(
        "verify", help="are the kernels in the cache what they were?",
        description="Reads the kernels in the cache again: ok, changed, missing, or not fetched yet. Exit code 1 if any"
        " is changed or missing.",
    )  # fmt: skip
    verifying.add_argument("name", nargs="?", default="", metavar="NAME", help="only this guest")
    verifying.set_defaults(run=verify)
    removing = inner.add_parser(
        "remove", help="remove a guest that was added",
        description="Removes an added guest, and its kernel if no other guest has the same. Recordings stay.",
    )  # fmt: skip
    removing.add_argument("name", metavar="NAME", help="the guest")
    removing.set_defaults(run=remove)


def run(arguments: argparse.Namespace) -> int:
    """Do ``list``."""
    from images import list_guests

    rows = [("GUEST", "KERNEL", "STATE", "RUNTIMES", "PROVENANCE", "DESCRIPTION")]
    rows += [
        (guest.name, guest.version or "-", guest.state, ",".join(guest.runtimes) or "-", guest.provenance or "-",
         guest.description)
        for guest in list_guests()
    ]  # fmt: skip
    _table(rows)
    return 0


def take(arguments: argparse.Namespace) -> int:
    """Do ``add``."""
    from images import added
    from images.model import Given

    guest = added.add(
        arguments.name, arguments.kind, Given(arguments.kernel, arguments.symbols, arguments.base),
        provenance=arguments.provenance, replacing=arguments.replace, progress=_progress,
    )  # fmt: skip
    print(f"{guest.name}: {guest.kind} {guest.version}, {guest.provenance}, symbols: {guest.symbols}")
    return 0


def verify(arguments: argparse.Namespace) -> int:
    """Do ``verify``; 1 if a kernel is not what it was."""
    from images import catalog
    from profiler.errors import CheckFailed

    states = catalog.verify(arguments.name)
    _table(states)
    wrong = [name for name, state in states if state in ("changed", "missing")]
    if wrong:
        raise CheckFailed(
            f"kernels that are not what they were: {', '.join(wrong)}",
            hint="weaklink makes its own again on the next run; add yours again with --replace, or remove them",
        )
    return 0


def remove(arguments: argparse.Namespace) -> int:
    """Do ``remove``."""
    from images import added

    added.remove(arguments.name, progress=_progress)
    print(f"{arguments.name} is removed")
    return 0


def _table(rows: Any) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for *cells, last in rows:
        print("  ".join([*(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)), last]))


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
