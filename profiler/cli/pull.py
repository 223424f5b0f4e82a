"""``weaklink guests pull``: a released kernel, fetched and checked."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final

_EVERY_PERCENT: Final = 10
_SHOWN_EVERY_S: Final = 5


def add(inner: Any) -> None:
    """Declare the verb."""
    parser: argparse.ArgumentParser = inner.add_parser(
        "pull", help="fetch a released kernel",
        description="Fetches a released kernel, and for FreeBSD its base, checks them against upstream's digests or"
        " those of the first pull, and makes them a guest. An interrupted pull goes on where it was. Nothing of the"
        " files is run here. Proxies: http_proxy, https_proxy, no_proxy.",
    )  # fmt: skip
    parser.add_argument(
        "guest", metavar="GUEST[@VERSION]", help="linux, linux-6.12, osv or freebsd, as in freebsd@15.1"
    )
    parser.add_argument(
        "--from", dest="address", default="", metavar="URL",
        help="fetch the files from this folder of a mirror: https, or http on this machine",
    )  # fmt: skip
    parser.add_argument("--name", default="", help="make it a guest of this name (default: GUEST)")
    parser.add_argument(
        "--symbols", type=Path, metavar="FILE", help="the symbols of the very build, if the release has none"
    )
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=30.0,
        metavar="SECONDS",
        help="how long to wait for the next byte (default: 30)",
    )
    parser.add_argument("--replace", action="store_true", help="put it in the place of the kernel that is there")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do ``pull``."""
    from images.fetch import Limits
    from images.pull import pull
    from images.upstream import UNVERIFIED

    guest, at, version = arguments.guest.partition("@")
    if at and not version:
        from profiler.errors import UsageError

        raise UsageError(f"{arguments.guest[:60]!r} names no version", hint="as in weaklink guests pull freebsd@15.1")
    with _Meter() as meter:
        pulled = pull(
            guest, version, name=arguments.name, address=arguments.address, symbols=arguments.symbols,
            replacing=arguments.replace, limits=Limits(stall_s=arguments.timeout), progress=meter.line, meter=meter,
        )  # fmt: skip
    for file in pulled.files:
        print(f"{file.file}  {file.size:,} bytes  sha256 {file.sha256}  {file.verified_by}")
    if any(file.verified_by == UNVERIFIED for file in pulled.files):
        print("unverified: nobody had published these digests; they are kept, and later pulls must match them")
    print(f"{pulled.name}: {pulled.version}, {pulled.provenance}{' (was here)' if pulled.was_here else ''}")
    return 0


class _Meter:
    """Shows on standard error how far a download is: a bar on a terminal, else a line now and then."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        self._console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False), BarColumn(bar_width=24), DownloadColumn(),
            TransferSpeedColumn(), console=self._console, transient=True, disable=not self._console.is_terminal,
        )  # fmt: skip
        self._file, self._shown, self._time = "", 0, 0.0
        self._task = self._bar.add_task("", total=None, visible=False)

    def __enter__(self) -> _Meter:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()

    def line(self, text: str) -> None:
        """What is being done now."""
        self._bar.update(self._task, visible=False)
        self._console.print(text)

    def __call__(self, file: str, have: int, total: int) -> None:
        """See ``images.fetch.Meter``."""
        if self._console.is_terminal:
            if file != self._file:
                self._bar.reset(self._task, description=file)
            self._bar.update(self._task, completed=have, total=total or None, visible=True)
        else:
            self._say(file, have, total)
        self._file = file

    def _say(self, file: str, have: int, total: int) -> None:
        share = have * 100 // total if total else 0
        begins, now = file != self._file, time.monotonic()
        if begins:
            self._shown, self._time = share - share % _EVERY_PERCENT, now
        if (begins and have) or (now - self._time > _SHOWN_EVERY_S and share >= self._shown + _EVERY_PERCENT):
            self._shown, self._time = share - share % _EVERY_PERCENT, now
            of = f" of {total / 1e6:.1f} MB ({share} %)" if total else " MB"
            print(f"  {file}: {'goes on at ' if begins else ''}{have / 1e6:.1f}{of}", file=sys.stderr, flush=True)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is no number of seconds (up to 3600)")
    return seconds
