"""``just truth``: plant causes in live guests, and hold what ``weaklink explain`` says of them against what they are.

Exit codes: 0 right in every row, 1 a miss, 2 no such cause, those of weaklink where nothing can be recorded.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from profiler.errors import WeaklinkError
from tests.truth import causes
from tests.truth.judge import Told, judge, missed, table
from tests.truth.run import NotRecorded, compared, measure, phases_of

SEEDS: Final = "8"
"""Fewer make no finding that one may rely on."""
_OUT: Final = Path(__file__).resolve().parents[2] / "out/truth"


def main(words: list[str] | None = None) -> int:
    """Record, judge, and print a table."""
    parser = argparse.ArgumentParser(prog="just truth", description=__doc__)
    parser.add_argument("causes", nargs="*", metavar="CAUSE", help="words of the names of causes (default: all)")
    parser.add_argument("--seeds", default=SEEDS, metavar="N", help=f"as in weaklink run (default: {SEEDS})")
    parser.add_argument("--out", type=Path, default=_OUT, help="where recordings go; those that hold are kept")
    arguments = parser.parse_args(words)
    known = causes.load(phases_of())
    chosen = [one for one in known if all(word in one.name for word in arguments.causes)]
    if not chosen:
        print(f"no such cause; there are: {', '.join(one.name for one in known)}", file=sys.stderr)
        return 2
    out = arguments.out.absolute()
    try:
        measure(chosen, arguments.seeds, out)
    except WeaklinkError as error:
        print(f"just truth: {error}\n{error.hint}", file=sys.stderr)
        return error.exit_code
    told: list[Told] = []
    for cause in chosen:
        try:
            told += judge(cause, compared(cause, arguments.seeds, out))
        except NotRecorded as reason:
            told += missed(cause, str(reason))
    print(table(told, {one.name: (one.base, one.other) for one in chosen}))
    return 1 if any(one.miss for one in told) else 0


if __name__ == "__main__":
    sys.exit(main())
