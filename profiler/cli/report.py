"""``weaklink report DIR``: one self-contained page."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import Any

from profiler.errors import DiskFull, UsageError


def add(verbs: Any) -> None:
    """Declare the verb."""
    parser: argparse.ArgumentParser = verbs.add_parser(
        "report",
        help="write a page with charts",
        description="Writes one HTML file that needs no network: an icicle per guest and the table of differences.",
    )
    parser.add_argument("directory", type=Path, metavar="DIR", help="the --out directory of a `weaklink run`")
    parser.add_argument("--against", metavar="GUEST", help="the guest to compare with (default: the first of the run)")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: DIR/report.html")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do it."""
    against = arguments.against or first_guest(arguments.directory)
    print(write(arguments.directory, against, arguments.output))
    return 0


def write(root: Path, against: str, output: Path | None = None) -> Path:
    """Write the page; where it is."""
    from analysis.views import html
    from profiler.cli.explain import compare
    from profiler.cli.recordings import load

    path = output or root / "report.html"
    replace(path, html.render(compare(root, against), load(root)))
    return path


def first_guest(root: Path) -> str:
    """The guest that was named first in the last campaign below ``root``, else the one with the shortest name."""
    import json

    from profiler.cli.recordings import load

    guests = sorted({recording.spec for recording in load(root)}, key=lambda spec: (len(spec), spec))
    try:
        named = json.loads((root / "campaign.json").read_bytes())["guests"][0]
    except (OSError, ValueError, LookupError, TypeError):
        return guests[0]
    return named if named in guests else guests[0]


def replace(path: Path, text: str) -> None:
    """Write a file whole or not at all; DiskFull or UsageError say why not."""
    import errno

    half = path.with_name(f".{path.name}.half")
    try:
        half.write_text(text, encoding="utf-8")
        half.replace(path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(f"no room left for {path}", hint="make room, then run it again") from error
        raise UsageError(f"cannot write {path}: {error.strerror}", hint="name another file") from error
    finally:
        with contextlib.suppress(OSError):
            half.unlink(missing_ok=True)
