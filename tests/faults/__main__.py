"""``just faults``: cause what can go wrong around a run, many times over, and judge from outside what becomes of it.

Every repetition runs the command line as users do, in directories and processes of its own: a campaign of three runs,
two of them finished, of which the third is struck.  It is right if the failure got its name, its exit code and its
evidence, no process was left, what was finished is untouched, and the same command again gives the figures of a run
that nothing disturbed.

Exit codes: 0 every row that is judged is right, 1 one is not, 2 no such kind.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Final

from tests.faults import campaign
from tests.faults.judge import table

REPETITIONS: Final = 10
GUESTS: Final = "linux,osv,freebsd"
_OUT: Final = Path(__file__).resolve().parents[2] / "out/faults"


def main(words: list[str] | None = None) -> int:
    """Cause, judge, and print the table."""
    parser = argparse.ArgumentParser(prog="just faults", description=__doc__)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help="names of kinds (default: all)")
    parser.add_argument("--repetitions", type=int, default=REPETITIONS, metavar="N", help=f"default: {REPETITIONS}")
    parser.add_argument("--guests", default=GUESTS, metavar="A,B", help=f"kinds of kernels (default: {GUESTS})")
    parser.add_argument("--out", type=Path, default=_OUT, help="where it happens; what was not right stays there")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, metavar="N",
        help="repetitions at the same time (default: as many as this machine has CPUs)",
    )  # fmt: skip
    arguments = parser.parse_args(words)
    known = {kind.name: kind for kind in campaign.KINDS}
    if unknown := [name for name in arguments.kinds if name not in known]:
        print(f"no kind {unknown[0]!r}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    chosen = [known[name] for name in arguments.kinds] or list(known.values())
    guests = [guest.strip() for guest in arguments.guests.split(",")]
    rows = campaign.run(chosen, guests, arguments.repetitions, arguments.out.absolute(), arguments.jobs)
    print(table(rows))
    return int(any(row.miss for row in rows))


if __name__ == "__main__":
    sys.exit(main())
