"""What the trace commands have in common: their options, which recordings they read, how they answer."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from profiler.errors import NothingToShow, UsageError

if TYPE_CHECKING:
    from analysis.trace.table import Answer
    from analysis.trace.trace import Trace
    from probes.recording import Recording

FORMATS: Final = ("text", "csv", "json")
ROWS: Final = 40
"""Rows of a table of text, where no --limit is given."""
_UNITS: Final = {"": 1, "ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}
_SPAN: Final = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)(ns|us|ms|s|)")


def add(verbs: Any, name: str, text: str, description: str) -> argparse.ArgumentParser:
    """Declare a verb with the options that all of them have; the parser, for more."""
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=text, description=description)
    parser.add_argument("recordings", type=Path, nargs="+", metavar="DIR",
                        help="the --out directory of a `weaklink run`, or a file of `weaklink pack`")  # fmt: skip
    parser.add_argument("--guest", action="append", default=[], metavar="SPEC",
                        help="only this guest, as in linux; may be given again (default: all)")  # fmt: skip
    parser.add_argument("--phase", metavar="NAME", help="only this phase (default: all together)")
    parser.add_argument("--thread", metavar="WHICH", help="only threads of this number, name or role")
    parser.add_argument("--since", type=span, metavar="TIME",
                        help="virtual time from the phase's begin, as in 10us, 2ms, or 500 (ns)")  # fmt: skip
    parser.add_argument("--until", type=span, metavar="TIME", help="the same: up to there")
    parser.add_argument("--seed", type=int, metavar="N", help="default: the first of each guest")
    parser.add_argument("--format", choices=FORMATS, default="text", help="default: text, 80 columns")
    parser.add_argument(
        "--limit", type=int, metavar="N", help=f"at most this many rows (default: {ROWS} in tables of text)"
    )
    return parser


def span(text: str) -> int:
    """A virtual time in ns: a number and ns, us, ms or s; without a unit it is in ns, which are instructions."""
    found = _SPAN.fullmatch(text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no time: write 500, 500ns, 10us or 2ms")
    whole, _, part = found[1].partition(".")
    unit = _UNITS[found[2]]
    return int(whole) * unit + int(part.ljust(9, "0") or 0) * unit // 10**9


def chosen(arguments: argparse.Namespace, *, events: bool = True) -> tuple[list[Trace], list[str]]:
    """The recordings that are asked for, and sentences on what was left out."""
    from analysis.trace.choose import Wanted, choose
    from profiler.cli.recordings import load

    if arguments.limit is not None and arguments.limit < 1:
        raise UsageError("--limit is at least 1", hint="leave it out for all rows")
    if arguments.until is not None and arguments.until <= (arguments.since or 0):
        raise UsageError("--until is not after --since", hint="both count from the phase's begin")
    recordings = [one for root in arguments.recordings for one in in_order(root, load(root))]
    wanted = Wanted(
        arguments.guest, arguments.phase, arguments.thread, arguments.since, arguments.until, arguments.seed
    )
    return choose(recordings, wanted, events=events)


def in_order(root: Path, recordings: list[Recording]) -> list[Recording]:
    """Recordings with the guests as the last campaign below ``root`` named them, if there is one."""
    from profiler.cli.recordings import campaign

    try:
        named = [str(guest) for guest in campaign(root)["guests"]]
    except (LookupError, TypeError):
        return recordings
    return sorted(recordings, key=lambda one: named.index(one.spec) if one.spec in named else len(named))


def run(arguments: argparse.Namespace, answer: Callable[[Trace], Answer], *, events: bool = True) -> int:
    """Answer for each guest and write it; a guest that has nothing to show is named below, unless none has."""
    from analysis.views import trace as view

    traces, notes = chosen(arguments, events=events)
    answers, empty = [], []
    for one in traces:
        try:
            answers.append(answer(one))
        except NothingToShow as said:
            empty.append(said)
    if not answers:
        raise nothing(empty)
    notes += [f"{said}: {said.hint}." for said in empty]
    if arguments.format == "text":
        write(view.text(answers, notes, width=width(), limit=arguments.limit or ROWS))
    elif arguments.format == "csv":
        write(view.comma_separated(answers, arguments.limit))
        say("csv", notes)
    else:
        write(view.as_json(answers, notes, arguments.limit))
    return 0


def nothing(empty: Sequence[NothingToShow]) -> NothingToShow:
    """What to raise if none of the guests has anything, given why of each."""
    if len(empty) == 1:
        return empty[0]
    others = "nor has the other guest" if len(empty) == 2 else f"nor have the {len(empty) - 1} other guests"
    return NothingToShow(f"{empty[0]}; {others} anything to show", hint=empty[0].hint)


def say(style: str, notes: Sequence[str]) -> None:
    """Write what was left out: below text, and where another program reads the output to the standard error."""
    import sys

    from analysis.views.trace import sentences

    (sys.stdout if style == "text" else sys.stderr).writelines(sentences(notes, width()))


def width() -> int:
    """Columns for text: the terminal's, and 80 where there is none."""
    import shutil
    import sys

    return max(40, shutil.get_terminal_size((80, 24)).columns) if sys.stdout.isatty() else 80


def write(lines: Iterable[str]) -> None:
    """Write to the standard output."""
    import sys

    sys.stdout.writelines(lines)
