"""Reads the command line, runs the verb, turns failures into a message, a way out and an exit code."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from profiler import __version__
from profiler.cli import (
    apps,
    demo,
    doctor,
    events,
    explain,
    guests,
    locks,
    maps,
    pack,
    packets,
    report,
    run,
    scale,
    stacks,
    switches,
    syscalls,
    top,
    verify,
    waits,
)  # fmt: skip
from profiler.errors import DiskFull, Interrupted, OutOfMemory, UsageError, WeaklinkError, no_room

VERBS = (
    run, verify, explain, report, top, syscalls, switches, locks, waits, events, packets, stacks,
    scale, pack, apps, guests, maps, doctor, demo,
)  # fmt: skip

_CODES = """\
exit codes: 0 done, 1 the answer is no, 2 usage, 3 not comparable or not enough data, 10-29 failures, 130 interrupted
"""


class _Parser(argparse.ArgumentParser):
    """Raises UsageError instead of leaving, so that there is one way out of the program.

    A verb that has a default for ``arguments`` gets there what follows ``--``, as it is.
    """

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """See argparse, which would take options from behind ``--`` where a positional argument stands before them."""
        given = list(sys.argv[1:] if args is None else args)
        if self.get_default("arguments") is None or "--" not in given:
            return super().parse_known_args(given, namespace)
        cut = given.index("--")
        parsed, unknown = super().parse_known_args(given[:cut], namespace)
        parsed.arguments = given[cut + 1 :]
        return parsed, unknown

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, hint=f"see `{self.prog} --help`")


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = _Parser(
        prog="weaklink",
        description="Which of the things an app asks of a kernel costs more on one kernel than on another, and why.",
        epilog=_CODES,
    )
    top.add_argument("--version", action="version", version=f"weaklink {__version__}")
    top.add_argument("--debug", action="store_true", help="show the Python traceback of a failure")
    verbs = top.add_subparsers(title="verbs", metavar="VERB", required=True)
    for verb in VERBS:
        verb.add(verbs)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code.  Never raises, except with --debug."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    try:
        chosen = parser().parse_args(argv)
        code: int = chosen.run(chosen)
        sys.stdout.flush()
        return code
    except SystemExit as leaving:  # argparse's own --help and --version
        return leaving.code if isinstance(leaving.code, int) else 0
    except KeyboardInterrupt:
        return _say(Interrupted(""))
    except BrokenPipeError:
        # Whoever read our output has seen enough.  Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if "--debug" in argv:
            raise
        failure = _named(error)
        if failure.exit_code == WeaklinkError.exit_code:
            from profiler.cli import bug

            if kept := bug.keep(error, argv):
                failure.hint = f"report it with {kept}, which says where it happened"
        return _say(failure)


def console_script() -> NoReturn:
    """The command ``weaklink``.  SIGTERM and SIGHUP end it the way Ctrl-C does: in order, without a QEMU left."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have started us with it ignored
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    sys.exit(main())


def _interrupt(number: int, frame: Any) -> NoReturn:
    raise KeyboardInterrupt


def _named(error: Exception) -> WeaklinkError:
    """The failure behind an exception; what nobody foresaw is ours."""
    if isinstance(error, WeaklinkError):
        return error
    if isinstance(error, OSError) and no_room(error):
        return DiskFull(f"no room left: {error}", hint="make room, then run it again")
    if isinstance(error, MemoryError):
        return OutOfMemory(f"weaklink itself could not have memory: {error or 'for what, Python does not say'}")
    return WeaklinkError(f"{type(error).__name__}: {error}")


def told(failure: WeaklinkError) -> str:
    """What the user is told of a failure: its name and what was found, what to do, and where there is more."""
    text = f"weaklink: {failure.name}{f': {failure}' if str(failure) else ''}\n  -> {failure.hint}\n"
    return text + (f"     more: {failure.section()}\n" if 10 <= failure.exit_code < 30 else "")


def _say(failure: WeaklinkError) -> int:
    """Tell the user on stderr how it ended; the exit code."""
    try:
        sys.stderr.write(told(failure))
        sys.stderr.flush()
    except OSError:
        pass  # nobody is listening; the exit code still says it
    return failure.exit_code
