"""``weaklink demo``: one app on every kernel that is here; of the others, what was recorded elsewhere."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from probes.recording import Recording

APP: Final = "tour"
AGAINST: Final = "linux"
KERNELS: Final = ("osv:libc", "osv:static", "freebsd")
"""Guests beside the base whose kernels users add themselves."""
VARIANTS: Final = ("linux+audit=1", "linux+init_on_alloc=0")
"""What there is to compare where no other kernel is."""
SEEDS: Final = "3"


def add(verbs: Any) -> None:
    """Declare the verb."""
    from profiler.cli.run import add_options

    parser: argparse.ArgumentParser = verbs.add_parser(
        "demo",
        help="run, verify, explain and report in one go",
        description=f"Runs {APP} on {AGAINST} and on {', '.join(KERNELS)} where those kernels are here (weaklink guests"
        f" add), else on {', '.join(VARIANTS)}; checks the recordings, and leaves findings.json and report.html beside"
        " them. Of kernels that are not here, recordings that come with weaklink are explained.",
    )
    parser.add_argument("--out", type=Path, default=Path("out/demo"), metavar="DIR", help="default: out/demo")
    parser.add_argument("--seeds", default=SEEDS, metavar="N", help=f"default: {SEEDS}")
    add_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do it."""
    from images import list_guests
    from profiler import recorded
    from profiler.cli import verify
    from profiler.cli.recordings import load
    from profiler.cli.run import finish, phases_of, record
    from profiler.subject import Known

    out: Path = arguments.out
    guests, missing = live({guest.name for guest in list_guests() if guest.state == "ready"})
    named = ",".join(guests)
    print(f"== weaklink run {APP} --guests {named} --seeds {arguments.seeds} --out {out}", flush=True)
    finish(record(Known(APP, phases_of(arguments)), named, arguments.seeds, out, arguments))
    print(f"\n== weaklink verify {out}", flush=True)
    verify.check(out)
    recordings = [one for one in load(out) if one.spec in guests]  # an earlier demo may have had others
    _explained(f"{out}", "run here just now", recordings, out)
    if missing:
        archive = recorded.archives().get(APP)
        print(f"\nnot here: the kernels of {', '.join(missing)} (`weaklink guests list` says how to add them)")
        if archive is None:
            print("and no recordings of them come with this weaklink")
        else:
            _explained(str(archive), "recorded elsewhere, not to be compared with what was run here", load(archive),
                       out / "recorded")  # fmt: skip
    return 0


def live(ready: Collection[str]) -> tuple[list[str], list[str]]:
    """The guests to run, given the names of those whose kernels are here, and those to take from recordings."""
    there = [spec for spec in KERNELS if spec.partition(":")[0] in ready]
    return [AGAINST, *(there or VARIANTS)], [spec for spec in KERNELS if spec not in there]


def _explained(what: str, origin: str, recordings: Sequence[Recording], out: Path) -> None:
    """Say what makes the difference, in short, and leave all of it in ``out``."""
    import sys

    from analysis.views import html
    from profiler.cli import explain, report

    print(f"\n== weaklink explain {what} --against {AGAINST} --brief", flush=True)
    order = (AGAINST, *KERNELS)
    recordings = sorted(recordings, key=lambda one: order.index(one.spec) if one.spec in order else len(order))
    comparison = explain.compare(recordings, AGAINST)
    specs = ", ".join(guest.spec for guest in comparison.guests)
    print(f"{origin}: {specs}, on QEMU {comparison.qemu}")
    sys.stdout.write(explain.rendered(comparison, "text", brief=True))
    out.mkdir(parents=True, exist_ok=True)
    report.replace(out / "findings.json", explain.rendered(comparison, "json"))
    report.replace(out / report.PAGE, html.render(comparison, recordings))
    print(f"\nleft in {out}: findings.json, {report.PAGE}; each phase: weaklink explain {what} --against {AGAINST}")
