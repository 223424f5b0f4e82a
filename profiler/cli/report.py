"""``weaklink report DIR``: one self-contained page."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from profiler.errors import DiskFull, NotComparable, RecordingInvalid, UsageError, WeaklinkError, no_room

if TYPE_CHECKING:
    from probes.recording import Recording

PAGE: Final = "report.html"


def add(verbs: Any) -> None:
    """Declare the verb."""
    parser: argparse.ArgumentParser = verbs.add_parser(
        "report",
        help="write a page with charts",
        description="Writes one HTML file that needs no network: an icicle per guest and the table of differences. Runs"
        " that failed are in it, with their evidence.",
    )
    parser.add_argument("directory", type=Path, metavar="DIR", help="the --out directory of a `weaklink run`")
    parser.add_argument("--against", metavar="GUEST", help="the guest to compare with (default: the first of the run)")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help=f"default: DIR/{PAGE}")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do it: the page is written, whatever is wrong with some of the runs.

    Raises afterwards what is wrong with them: RecordingInvalid, or NotComparable if those that are left are too few.
    """
    from analysis.views import failures as view
    from analysis.views import html
    from profiler.cli import failures
    from profiler.cli.explain import compare

    root: Path = arguments.directory
    recordings, unreadable = _readable(root)
    failed = failures.of(root) + [
        view.Failure(place, error.name, str(error), error.hint) for place, error in unreadable
    ]
    path = arguments.output or root / PAGE
    invalid: WeaklinkError | None = unreadable[0][1] if unreadable else None
    try:
        if not recordings:
            raise RecordingInvalid(f"no run in {root} became a recording", hint=f"see why in {path}")
        comparison = compare(recordings, arguments.against or first_guest(root, recordings))
        replace(path, html.render(comparison, recordings, failed))
    except (NotComparable, RecordingInvalid) as error:
        if not failed:
            raise
        replace(path, view.page("Runs that failed", failed, str(error)))
        invalid = invalid or error
    print(path)
    if invalid is not None:
        raise invalid
    return 0


def _readable(root: Path) -> tuple[list[Recording], list[tuple[str, RecordingInvalid]]]:
    """Give the recordings at or below ``root`` that are whole, and what is wrong with the others."""
    from probes import recording
    from profiler.campaign import SUMMARY
    from profiler.cli.recordings import load, whole

    places = recording.find(root) if root.is_dir() else []
    if not places and root.is_dir() and (root / SUMMARY).exists():
        return [], []
    good: list[Recording] = []
    bad: list[tuple[str, RecordingInvalid]] = []
    for place in places:
        try:
            one = whole(recording.read(place))
            _ = one.ledger, one.phases, one.calls  # read now, and kept: an older one has no digests
            good.append(one)
        except RecordingInvalid as error:
            bad.append((str(place.relative_to(root)), error))
    return (good, bad) if places else (load(root), [])


def first_guest(root: Path, recordings: Sequence[Recording]) -> str:
    """The guest that was named first in the last campaign below ``root``, else the one with the shortest name."""
    from profiler.cli.recordings import campaign

    guests = sorted({recording.spec for recording in recordings}, key=lambda spec: (len(spec), spec))
    try:
        named = campaign(root)["guests"][0]
    except (LookupError, TypeError):
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
