"""``weaklink pack DIR --out FILE``: many recordings in one small file; ``weaklink unpack`` takes them out."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def add(verbs: Any) -> None:
    """Declare both verbs."""
    parser: argparse.ArgumentParser = verbs.add_parser(
        "pack",
        help="put recordings into one small file",
        description="Puts all recordings of DIR into FILE, which every other verb reads in the place of DIR. Ledgers,"
        " phases, calls and consoles stay whole.",
    )
    parser.add_argument("directory", type=Path, metavar="DIR", help="a directory with recordings, or another such file")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="as in tour.recordings")
    parser.add_argument(
        "--events", metavar="a,b",
        help="keep events of these phases only, and of one seed per guest: they are most of what recordings take",
    )  # fmt: skip
    parser.set_defaults(run=run)
    parser = verbs.add_parser("unpack", help="take recordings out of such a file")
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="where they go")
    parser.set_defaults(run=unpack)


def unpack(arguments: argparse.Namespace) -> int:
    """Write the recordings of an archive as directories."""
    from probes import archive

    with _written(arguments.out):
        places = archive.unpack(arguments.file, arguments.out)
    print(f"{arguments.out}: {len(places)} recordings")
    return 0


def run(arguments: argparse.Namespace) -> int:
    """Do it."""
    from probes import archive
    from profiler.cli.recordings import load
    from profiler.errors import UsageError

    root, out = arguments.directory, arguments.out
    if out.suffix != archive.SUFFIX or not out.parent.is_dir() or out.is_dir():
        raise UsageError(
            f"{out} cannot be written", hint=f"name a file in a directory that exists: NAME{archive.SUFFIX}"
        )
    recordings = load(root)
    kept = None
    if arguments.events is not None:
        numbers = {phase["name"]: phase["number"] for one in recordings for phase in one.manifest["app"]["phases"]}
        names = [name.strip() for name in arguments.events.split(",") if name.strip()]
        if unknown := [name for name in names if name not in numbers]:
            raise UsageError(f"no phase {unknown[0][:60]!r}", hint=f"phases: {', '.join(numbers)}"[:500])
        kept = [numbers[name] for name in names]
    with _written(out):
        archive.write(out, recordings, root, events=kept)
    print(f"{out}: {len(recordings)} recordings, {out.stat().st_size:,} bytes")
    return 0


@contextmanager
def _written(out: Path) -> Iterator[None]:
    """Say why it cannot be written, if it cannot."""
    from profiler.errors import UsageError

    try:
        yield
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error}", hint="name another place with --out") from error
