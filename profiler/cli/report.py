"""``weaklink report DIR``: one self-contained page."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from profiler.errors import DiskFull, UsageError, no_room

if TYPE_CHECKING:
    from probes.recording import Recording

PAGE: Final = "report.html"


def add(verbs: Any) -> None:
    """Declare the verb."""
    parser: argparse.ArgumentParser = verbs.add_parser(
        "report",
        help="write a page with charts",
        description="Writes one HTML file that needs no network: an icicle per guest and the table of differences.",
    )
    parser.add_argument("directory", type=Path, metavar="DIR", help="the --out directory of a `weaklink run`")
    parser.add_argument("--against", metavar="GUEST", help="the guest to compare with (default: the first of the run)")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help=f"default: DIR/{PAGE}")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do it."""
    from analysis.views import html
    from profiler.cli.explain import compare
    from profiler.cli.recordings import load

    root: Path = arguments.directory
    recordings = load(root)
    path = arguments.output or root / PAGE
    replace(path, html.render(compare(recordings, arguments.against or first_guest(root, recordings)), recordings))
    print(path)
    return 0


def first_guest(root: Path, recordings: Sequence[Recording]) -> str:
    """The guest that was named first in the last campaign below ``root``, else the one with the shortest name."""
    import json

    guests = sorted({recording.spec for recording in recordings}, key=lambda spec: (len(spec), spec))
    try:
        named = json.loads((root / "campaign.json").read_bytes())["guests"][0]
    except (OSError, ValueError, LookupError, TypeError):
        return guests[0]
    return named if named in guests else guests[0]


def replace(path: Path, text: str) -> None:
    """Write a file whole or not at all; DiskFull or UsageError say why not."""
    half = path.with_name(f".{path.name}.half")
    try:
        half.write_text(text, encoding="utf-8")
        half.replace(path)
    except OSError as error:
        if no_room(error):
            raise DiskFull(f"no room left for {path}", hint="make room, then run it again") from error
        raise UsageError(f"cannot write {path}: {error.strerror}", hint="name another file with --output") from error
    finally:
        with contextlib.suppress(OSError):
            half.unlink(missing_ok=True)
