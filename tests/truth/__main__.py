"""``just truth``: plant causes in live guests, and hold what ``weaklink explain`` says of them against what they are.

Rows whose kernel is not on this machine are not judged, and say so.  Exit codes: 0 right in every row that is judged,
1 a miss, 2 no such cause, those of weaklink where nothing can be recorded.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Final

from profiler.errors import ArtifactUnavailable, WeaklinkError
from tests.truth import causes
from tests.truth.judge import Told, judge, missed, not_judged, table
from tests.truth.run import NotRecorded, compared, lacking, measure, phases_of

SEEDS: Final = "8"
"""Fewer make no finding that one may rely on."""
_OUT: Final = Path(__file__).resolve().parents[2] / "out/truth"


def main(words: list[str] | None = None) -> int:
    """Record, judge, and print a table."""
    parser = argparse.ArgumentParser(prog="just truth", description=__doc__)
    parser.add_argument("causes", nargs="*", metavar="CAUSE", help="words of the names of causes (default: all)")
    parser.add_argument("--seeds", default=SEEDS, metavar="N", help=f"as in weaklink run (default: {SEEDS})")
    parser.add_argument("--out", type=Path, default=_OUT, help="where recordings go; those that hold are kept")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, metavar="N",
        help="guests that are recorded at the same time (default: as many as this machine has CPUs)",
    )  # fmt: skip
    arguments = parser.parse_args(words)
    known = causes.load(phases_of)
    chosen = [one for one in known if all(word in one.name for word in arguments.causes)]
    if not chosen:
        print(f"no such cause; there are: {', '.join(one.name for one in known)}", file=sys.stderr)
        return 2
    out = arguments.out.absolute()
    absent = {one.name: lacking(one) for one in chosen}
    here = [one for one in chosen if not absent[one.name]]
    try:
        if not here:
            raise ArtifactUnavailable(
                "; ".join(dict.fromkeys(absent.values())), hint="add a kernel: weaklink guests list says how"
            )
        measure(here, arguments.seeds, out, arguments.jobs)
    except WeaklinkError as error:
        print(f"just truth: {error}\n{error.hint}", file=sys.stderr)
        return error.exit_code
    told: list[Told] = []
    for cause in chosen:
        if absent[cause.name]:
            told += not_judged(cause, absent[cause.name])
            continue
        try:
            told += judge(cause, compared(cause, arguments.seeds, out))
        except NotRecorded as reason:
            told += missed(cause, str(reason))
    print(table(told, {one.name: (one.base, one.other) for one in chosen}))
    return 1 if any(one.miss for one in told) else 0


if __name__ == "__main__":
    sys.exit(main())
