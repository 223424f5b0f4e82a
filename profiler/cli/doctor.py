"""``weaklink doctor``: what this machine can do."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from profiler.doctor.check import Check

_WIDTH: Final = 110
_MARGIN: Final = " " * 11
_LINES: Final = 4
_MANY: Final = 5


def add(verbs: Any) -> None:
    """Declare the verb."""
    parser: argparse.ArgumentParser = verbs.add_parser(
        "doctor",
        help="say what this machine can do",
        description="Looks at the machine, QEMU and what the probe can see with it, the guests, and whether KVM works:"
        " what there is, and where something is missing or limited what it is for and what to do. Where the demo's"
        " kernel is not here, it sees whether apt-get reaches its mirror, with a package of 2 kB."
        " Exit code 1 if the demo cannot run here.",
    )
    parser.add_argument("--json", action="store_true", help="one object, for programs")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do it."""
    import json

    from profiler.cli import demo
    from profiler.doctor import examine
    from profiler.errors import CheckFailed

    checks: list[Check] = []
    for _, group in groupby(examine(demo.APP, demo.AGAINST, demo.KERNELS, _progress), key=lambda check: check.area):
        checks += (area := list(group))
        if not arguments.json:
            print("\n".join(_lines(area)), flush=True)
    stopped = [check for check in checks if check.stops_the_demo]
    if arguments.json:
        print(json.dumps({"schema": 1, "demo": not stopped, "checks": [check.row() for check in checks]}, indent=1))
    elif not stopped:
        limited = ", ".join(f"{check.area} {check.name}" for check in checks if check.required and check.state != "ok")
        print(f"\nthe demo can run here{f', with limits ({limited})' if limited else ''}: weaklink demo")
    if stopped:
        names = ", ".join(f"{check.area} {check.name}" for check in stopped)
        hint = stopped[0].remedy if len(stopped) == 1 else "do what stands behind each -> of these, then look again"
        raise CheckFailed(f"the demo cannot run here: {names}", hint=hint)
    return 0


def _lines(area: Sequence[Check]) -> Iterator[str]:
    """What is shown of the checks of one area: what there is, and of what is not ok why, and the way out.

    Many of which the same is to be said are listed in one paragraph.
    """
    yield area[0].area
    width = max(len(check.name) for check in area)
    alike: dict[tuple[str | None, ...], list[Check]] = {}
    for check in area:
        alike.setdefault((check.state, check.value, check.reason, check.remedy), []).append(check)
    for checks in alike.values():
        for check in checks if len(checks) < _MANY else ():
            what = (
                f"  ({'needed' if check.required else 'it is'} for {check.needed_for})" if check.state != "ok" else ""
            )
            yield f"  {check.state:<7}  {check.name:<{width}}  {check.value or '-'}{what}"
            yield from _more(check)
        if len(checks) >= _MANY:
            yield f"  {checks[0].state:<7}  {len(checks)} kinds of {checks[0].needed_for}"
            yield _wrapped(", ".join(check.name for check in checks))
            yield from _more(checks[0])


def _more(check: Check) -> Iterator[str]:
    yield from map(_wrapped, check.reason.splitlines()[:_LINES])
    if check.remedy:
        yield _wrapped(f"-> {check.remedy}")


def _wrapped(text: str) -> str:
    return textwrap.fill(text, _WIDTH, initial_indent=_MARGIN, subsequent_indent=_MARGIN, break_on_hyphens=False)


def _progress(text: str) -> None:
    print(f"{_MARGIN}{text} ...", file=sys.stderr, flush=True)
