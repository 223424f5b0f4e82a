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
    parser.add_argument("--brief", action="store_true", help="text only: leave out the phases one by one")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do it."""
    import sys

    from profiler.cli.recordings import load

    comparison = compare(load(arguments.directory), arguments.against)
    if arguments.brief and arguments.format != "text":
        raise UsageError("--brief is for text", hint="leave out --brief or --format")
    sys.stdout.write(rendered(comparison, arguments.format, brief=arguments.brief))
    return 0


def compare(recordings: Sequence[Recording], against: str) -> Comparison:
    """The comparison of some recordings; raises UsageError if ``against`` is not among them."""
    from analysis.compare import compare as compared

    guests = sorted({recording.spec for recording in recordings})
    if against not in guests:
        raise UsageError(f"there are no recordings of {against!r}", hint=f"there are some of {', '.join(guests)}")
    return compared(recordings, against)


def rendered(comparison: Comparison, style: str, *, brief: bool = False) -> str:
    """The comparison as text of a kind in FORMATS, ending in a newline; only ``text`` can be ``brief``."""
    from importlib import import_module

    view = import_module(f"analysis.views.{'terminal' if style == 'text' else style}")
    text: str = view.render(comparison, brief=True) if brief else view.render(comparison)
    return text.rstrip("\n") + "\n"
