"""``weaklink verify DIR``: whether the recordings add up."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from probes.recording import Recording


def add(verbs: Any) -> None:
    """Declare the verb."""
    parser: argparse.ArgumentParser = verbs.add_parser(
        "verify",
        help="check that recordings add up",
        description="Holds every recording against what the app said from inside the guest: its own clock and its known"
        " numbers of operations. Exits with 1 if one does not add up.",
    )
    parser.add_argument("directory", type=Path, metavar="DIR", help="a recording, or a directory with some below")
    parser.add_argument("--all", action="store_true", help="list the checks that hold, too")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do it; 0 if all checks hold, else CheckFailed."""
    return check(arguments.directory, show_all=arguments.all)


def check(root: Path, *, show_all: bool = False) -> int:
    """Verify every recording below ``root``, printing one line each and one per check that failed.

    All are looked at, whatever is wrong with some.  Raises RecordingInvalid if one cannot be read, else CheckFailed if
    one does not add up.
    """
    from analysis.verify import verify
    from profiler.cli.recordings import whole
    from profiler.errors import CheckFailed, RecordingInvalid
    from profiler.machine.console import visible

    failed = total = 0
    unreadable: list[RecordingInvalid] = []
    found = list(_each(root))
    for read in found:
        try:
            recording = read()
            checks = verify(whole(recording))
        except RecordingInvalid as error:
            print(f"{visible(str(error))}")
            unreadable.append(error)
            continue
        wrong = [check for check in checks if not check.ok]
        total, failed = total + len(checks), failed + len(wrong)
        word = f"{len(wrong)} of {len(checks)} checks FAILED" if wrong else f"{len(checks)} checks hold"
        print(f"{visible(recording.spec):<34} seed {recording.seed:<5} {word}")
        for check in checks:
            if show_all or check.warn or not check.ok:
                mark = "FAIL" if not check.ok else "note" if check.warn else "ok"
                where = "" if check.phase is None else f"{check.phase}: "
                print(f"    {mark:<4} {check.name}: {visible(where + check.detail)}")
    if unreadable:
        others = f"; {failed} of {total} checks of the others failed" if failed else ""
        raise RecordingInvalid(f"{len(unreadable)} of {len(found)} recordings cannot be read{others}",
                               hint=unreadable[0].hint)  # fmt: skip
    if failed:
        raise CheckFailed(
            f"{failed} of {total} checks failed", hint="do not trust what is computed from these recordings"
        )
    return 0


def _each(root: Path) -> Iterator[Callable[[], Recording]]:
    """How to read each recording at or below ``root``: one that cannot be read does not keep others from it."""
    from functools import partial

    from probes import archive, recording
    from profiler.cli.recordings import load

    places = [] if root.suffix == archive.SUFFIX else recording.find(root)
    if places:
        yield from (partial(recording.read, place) for place in places)
    else:
        yield from (partial(_given, one) for one in load(root))


def _given(one: Recording) -> Recording:
    return one
