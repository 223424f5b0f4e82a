"""``weaklink run APP``: record an app on guests, once per seed."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from profiler.campaign import Summary


def add(verbs: Any) -> None:
    """Declare the verb."""
    parser: argparse.ArgumentParser = verbs.add_parser(
        "run",
        help="record an app on guests",
        description="Boots every guest once per seed, runs the app in it, and records every instruction. Runs that are"
        " in DIR already and still hold are kept.",
    )
    parser.add_argument("app", help="the app, as in tour")
    parser.add_argument(
        "--guests", required=True, metavar="A,B", help="guests, as in linux,linux+audit=1 (see `weaklink guests list`)"
    )
    parser.add_argument("--seeds", default="3", metavar="N", help="3 for seeds 1 to 3, or 4-6 (default: 3)")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="where recordings go")
    add_options(parser)
    parser.set_defaults(run=run)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what ``run`` and ``demo`` share."""
    parser.add_argument(
        "--mode", choices=("exact", "block"), default="exact",
        help="count every instruction, or every block: cheaper, up to 0.5 %% too many (default: exact)",
    )  # fmt: skip
    parser.add_argument("--phases", default="", metavar="a,b", help="only these phases of the app")
    parser.add_argument(
        "--limit", type=float, metavar="SECONDS",
        help="CPU seconds that QEMU may take to boot, and then to run (default: 90 and 600)",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Do it.  Raises the first failure after all other guests have had their turn."""
    summary = record(arguments.app, arguments.guests, arguments.seeds, arguments.out, arguments)
    return finish(summary)


def record(app: str, guests: str, seeds: str, out: Path, options: argparse.Namespace) -> Summary:
    """Run a campaign and show how it goes."""
    from profiler import campaign, plan
    from profiler.cli.progress import Progress
    from profiler.errors import UsageError
    from profiler.machine.boot import Limits

    if options.limit is not None and not 0 < options.limit < 1e6:
        raise UsageError("--limit is a number of seconds", hint="leave it out for the defaults")
    limits = Limits() if options.limit is None else Limits().both(options.limit)
    phases = [name.strip() for name in options.phases.split(",") if name.strip()]
    parsed = plan.parse_guests(guests)
    runs = plan.plan(app, parsed, plan.parse_seeds(seeds))
    with Progress() as progress:
        from profiler.recorder import TOOL, ExecRecorder  # after the first sign of life: it takes a moment

        recorder = ExecRecorder(
            app, mode=options.mode, phases=phases, limits=limits, step=progress.step, on_line=progress.line
        )
        about = _about(TOOL, app, [str(guest) for guest in parsed], seeds, options.mode, phases)
        return campaign.execute(runs, out.absolute(), recorder, progress, about)


def finish(summary: Summary) -> int:
    """Raise the first failure of a campaign, if there was one."""
    if summary.first_failure is not None:
        raise summary.first_failure
    return 0


def _about(tool: str, app: str, guests: Sequence[str], seeds: str, mode: str, phases: Sequence[str]) -> dict[str, Any]:
    return {
        "tool": tool, "app": app, "guests": list(guests), "seeds": seeds, "mode": mode, "phases": list(phases),
    }  # fmt: skip
