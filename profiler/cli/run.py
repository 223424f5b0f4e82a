"""``weaklink run APP``: record an app by name or folder, or a program of the user's, on guests, once per seed."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from profiler.campaign import Summary
    from profiler.subject import Subject

WINDOW = "exec..exit"


def add(verbs: Any) -> None:
    """Declare the verb."""
    parser: argparse.ArgumentParser = verbs.add_parser(
        "run",
        help="record an app on guests",
        usage="weaklink run [options] APP --guests A,B --out DIR [-- ARGUMENT ...]",
        description="Boots every guest once per seed, runs the app in it, and records every instruction. Runs that are"
        " in DIR already and still hold are kept.",
    )
    parser.add_argument(
        "app",
        help="the app, as in tour; or a path: of an app's folder, as in ./myapp, or of a program for Linux, as in"
        " ./server, whose arguments follow --",
    )
    parser.add_argument(
        "--window", default=WINDOW, metavar="START[..END]",
        help="what to record of a program: exec, console:REGEX or symbol:NAME, up to exit, console:REGEX or"
        " symbol:NAME; or marker (default: exec..exit)",
    )  # fmt: skip
    parser.add_argument(
        "--with", dest="client", type=Path, metavar="FILE", help="a client for a server: FILE.c or FILE.so"
    )
    parser.add_argument(
        "--file", dest="files", action="append", default=[], metavar="PLACE=FILE",
        help="a file that a program wants, and its absolute path in the guest; may be given again",
    )  # fmt: skip
    parser.add_argument("--ops", type=int, default=1, metavar="N", help="what the window does, for costs per op")
    parser.add_argument("--op", default="run", metavar="NAME", help="what to call one of them, as in request")
    parser.add_argument(
        "--guests", required=True, metavar="A,B", help="guests, as in linux,linux+audit=1 (see `weaklink guests list`)"
    )
    parser.add_argument("--seeds", default="3", metavar="N", help="3 for seeds 1 to 3, or 4-6 (default: 3)")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="where recordings go")
    add_options(parser)
    parser.set_defaults(run=run, arguments=[])


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what ``run`` and ``demo`` share."""
    parser.add_argument(
        "--mode", choices=("exact", "block"),
        help="count every instruction, or every block: cheaper, in a phase up to 0.5 %% too many (default: exact; with"
        " several vCPUs block where QEMU is older than 9.0)",
    )  # fmt: skip
    parser.add_argument(
        "--vcpus", type=int, default=1, metavar="N",
        help="CPUs of every guest; with more than one they run at the same time, and results are statistical: no two"
        " runs are alike (default: 1)",
    )  # fmt: skip
    parser.add_argument(
        "--stacks", action="store_true", help="keep exact call stacks, for flame graphs; takes more time"
    )
    parser.add_argument("--phases", default="", metavar="a,b", help="only these phases of the app")
    parser.add_argument(
        "--limit", type=float, metavar="SECONDS",
        help="CPU seconds that QEMU may take to boot, and then to run (default: 90 and 600)",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Do it.  Raises the first failure after all other guests have had their turn."""
    return finish(record(_subject(arguments), arguments.guests, arguments.seeds, arguments.out, arguments))


def phases_of(arguments: argparse.Namespace) -> list[str]:
    """Give the phases that were chosen; none means all."""
    return [name.strip() for name in arguments.phases.split(",") if name.strip()]


def _files(given: Sequence[str]) -> dict[str, Path]:
    """Read PLACE=FILE words; ``UsageError`` for what is none, or for a place given twice."""
    from profiler.errors import UsageError

    files: dict[str, Path] = {}
    for word in given:
        place, equals, file = word.partition("=")
        if not equals or not file or place in files:
            raise UsageError(f"{word[:80]!r} is no file for a guest", hint="write --file /etc/app.conf=./app.conf")
        files[place] = Path(file).absolute()
    return files


def _subject(arguments: argparse.Namespace) -> Subject:
    """Give what is to be run: an app by its name, or at a path an app's folder or a program."""
    from profiler.errors import UsageError
    from profiler.subject import Known, Own

    phases, path = phases_of(arguments), Path(arguments.app)
    folder = path.parent if path.name == "app.toml" else path
    if "/" not in arguments.app and arguments.app not in (".", ".."):
        _no_program(arguments)
        return Known(arguments.app, phases)
    if folder.is_dir():
        from images import apps

        _no_program(arguments)
        if not (folder / "app.toml").exists():
            raise UsageError(
                f"{folder} has no app.toml", hint="a program is named by its file; `weaklink apps new` begins an app"
            )
        return Known(apps.read(folder), phases)
    from probes.exec.window import Window

    if phases:
        raise UsageError("a program has no --phases", hint="say with --window what of it is to be recorded")
    return Own(
        path.absolute(), arguments.arguments, Window.parse(arguments.window), arguments.client,
        arguments.ops, arguments.op, _files(arguments.files),
    )  # fmt: skip


def _no_program(arguments: argparse.Namespace) -> None:
    """Refuse for an app what only a program has."""
    from profiler.errors import UsageError

    if arguments.arguments:
        raise UsageError(
            f"{arguments.app} takes no arguments", hint=f"a program is named by its path, as in ./{arguments.app}"
        )
    given = {
        "--window": arguments.window != WINDOW, "--with": arguments.client, "--file": arguments.files,
        "--ops": arguments.ops != 1, "--op": arguments.op != "run",
    }  # fmt: skip
    wrong = [option for option, value in given.items() if value]
    if wrong:
        raise UsageError(f"an app has no {wrong[0]}", hint="its app.toml and its source say what is measured")


def record(subject: Subject, guests: str, seeds: str, out: Path, options: argparse.Namespace) -> Summary:
    """Run a campaign and show how it goes."""
    from profiler import campaign, plan
    from profiler.cli.progress import Progress
    from profiler.errors import UsageError
    from profiler.machine.boot import Limits
    from profiler.subject import window_entry

    if options.limit is not None and not 0 < options.limit < 1e6:
        raise UsageError("--limit is a number of seconds", hint="leave it out for the defaults")
    limits = Limits() if options.limit is None else Limits().both(options.limit)
    parsed = plan.parse_guests(guests)
    runs = plan.plan(subject.name, parsed, plan.parse_seeds(seeds))
    with Progress() as progress:
        from profiler.recorder import TOOL, ExecRecorder  # after the first sign of life: it takes a moment

        recorder = ExecRecorder(
            subject,
            mode=options.mode,
            vcpus=options.vcpus,
            stacks=options.stacks,
            limits=limits,
            step=progress.step,
            on_line=progress.line,
        )
        recorder.check(parsed)
        about = {
            "tool": TOOL, "app": subject.name, "guests": [str(guest) for guest in parsed], "seeds": seeds,
            "mode": recorder.mode, "vcpus": options.vcpus, "stacks": options.stacks, "args": list(subject.args),
            "window": window_entry(subject),
        }  # fmt: skip
        return campaign.execute(runs, out.absolute(), recorder, progress, about)


def finish(summary: Summary) -> int:
    """Raise the first failure of a campaign, if there was one."""
    if summary.first_failure is not None:
        raise summary.first_failure
    return 0
