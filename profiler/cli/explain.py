"""``weaklink explain DIR --against GUEST``: what makes the difference."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from profiler.errors import UsageError

if TYPE_CHECKING:
    from analysis.comparison import Comparison
    from probes.recording import Recording

FORMATS: Final = ("text", "json", "markdown")


def add(verbs: Any) -> None:
    """Declare the verb."""
    parser: argparse.ArgumentParser = verbs.add_parser(
        "explain",
        help="say what makes the difference",
        description="Compares every guest in DIR with one of them: per phase, instructions per op on each side, and the"
        " operations, layers and functions that make the difference, largest first.",
    )
    parser.add_argument("directory", type=Path, metavar="DIR", help="the --out directory of a `weaklink run`")
    parser.add_argument("--against", required=True, metavar="GUEST", help="the guest to compare with, as in linux")
    parser.add_argument("--format", choices=FORMATS, default="text", help="default: text, 80 columns")
    parser.add_argument(
        "--prices",
        action="append",
        default=[],
        metavar="MACHINE",
        help="model cycles on this machine, with each finding and phase (a name in docs/prices.md, or a file of yours"
        " in that form, *.toml); again for more. Default: a table for all there are",
    )
    parser.add_argument("--brief", action="store_true", help="text only: leave out the phases one by one")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do it."""
    import sys

    from profiler.cli.recordings import load

    comparison = compare(load(arguments.directory), arguments.against, arguments.prices)
    if arguments.brief and arguments.format != "text":
        raise UsageError("--brief is for text", hint="leave out --brief or --format")
    sys.stdout.write(rendered(comparison, arguments.format, brief=arguments.brief))
    return 0


def compare(recordings: Sequence[Recording], against: str, machines: Sequence[str] = ()) -> Comparison:
    """The comparison of some recordings, with cycles modelled on ``machines`` (all known, if there are none).

    Raises UsageError if ``against`` is not among the recordings, or there is no price list of a machine.
    """
    from analysis import prices
    from analysis.compare import compare as compared

    guests = sorted({recording.spec for recording in recordings})
    if against not in guests:
        raise UsageError(f"there are no recordings of {against!r}", hint=f"there are some of {', '.join(guests)}")
    return compared(recordings, against, [prices.load(machine) for machine in machines] or None)


def rendered(comparison: Comparison, style: str, *, brief: bool = False) -> str:
    """The comparison as text of a kind in FORMATS, ending in a newline; only ``text`` can be ``brief``."""
    from importlib import import_module

    view = import_module(f"analysis.views.{'terminal' if style == 'text' else style}")
    text: str = view.render(comparison, brief=True) if brief else view.render(comparison)
    return text.rstrip("\n") + "\n"
