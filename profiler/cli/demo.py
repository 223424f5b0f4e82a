"""``weaklink demo``: one kernel, two boot options, and what they cost."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Final

APP: Final = "tour"
GUESTS: Final = "linux,linux+audit=1,linux+init_on_alloc=0"
AGAINST: Final = "linux"
SEEDS: Final = "3"


def add(verbs: Any) -> None:
    """Declare the verb."""
    from profiler.cli.run import add_options

    parser: argparse.ArgumentParser = verbs.add_parser(
        "demo",
        help="run, verify, explain and report in one go",
        description=f"Runs {APP} on {GUESTS} with {SEEDS} seeds, checks the recordings, and leaves findings.json and"
        " report.html beside them.",
    )
    parser.add_argument("--out", type=Path, default=Path("out/demo"), metavar="DIR", help="default: out/demo")
    parser.add_argument("--seeds", default=SEEDS, metavar="N", help=f"default: {SEEDS}")
    add_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do it."""
    import sys

    from analysis.views import html
    from profiler.cli import explain, report, verify
    from profiler.cli.recordings import load
    from profiler.cli.run import finish, phases_of, record
    from profiler.subject import Known

    out: Path = arguments.out
    print(f"== weaklink run {APP} --guests {GUESTS} --seeds {arguments.seeds} --out {out}", flush=True)
    finish(record(Known(APP, phases_of(arguments)), GUESTS, arguments.seeds, out, arguments))
    print(f"\n== weaklink verify {out}", flush=True)
    verify.check(out)
    print(f"\n== weaklink explain {out} --against {AGAINST}", flush=True)
    recordings = load(out)
    comparison = explain.compare(recordings, AGAINST)
    sys.stdout.write(explain.rendered(comparison, "text"))
    report.replace(out / "findings.json", explain.rendered(comparison, "json"))
    report.replace(out / report.PAGE, html.render(comparison, recordings))
    print(f"\nleft in {out}: recordings, {out / 'findings.json'}, {out / report.PAGE}")
    return 0
