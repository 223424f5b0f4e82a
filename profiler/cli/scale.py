"""``weaklink scale DIR``: what each further thread or connection costs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Final

FORMATS: Final = ("text", "json")


def add(verbs: Any) -> None:
    """Declare the verb."""
    parser: argparse.ArgumentParser = verbs.add_parser(
        "scale",
        help="what each further thread or connection costs",
        description="Of an app whose phases do the same with more and more threads or connections: instructions per op"
        " over that number, the universal scalability law through them, and which guest is ahead until when.",
    )
    parser.add_argument("directory", type=Path, metavar="DIR",
                        help="the --out directory of a `weaklink run`, or a file of `weaklink pack`")  # fmt: skip
    parser.add_argument("--format", choices=FORMATS, default="text", help="default: text, 80 columns")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do it."""
    import sys

    from analysis.series import series
    from analysis.views import scaling
    from profiler.cli.recordings import load
    from profiler.cli.traces import in_order

    found, notes = series(in_order(arguments.directory, load(arguments.directory)))
    if arguments.format == "text":
        sys.stdout.writelines(scaling.text(found, notes))
    else:
        sys.stdout.write(scaling.as_json(found, notes))
    return 0
