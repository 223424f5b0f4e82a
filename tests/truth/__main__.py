"""``just truth``: hold what ``weaklink explain`` says against what is known.

Its parts: causes that are planted in live guests; differences of apps, foretold from the tour; guests against
themselves, of which nothing is to be said; recordings that never ran, with known changes and noise.  What a kernel is
needed for that is not on this machine is not judged, and says so.

Exit codes: 0 right in every row that is judged, 1 a miss, 2 no such cause, those of weaklink where nothing can be
recorded.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from profiler.errors import ArtifactUnavailable, WeaklinkError
from tests.truth import causes, made_up, nothing, predictions
from tests.truth.causes import Cause
from tests.truth.judge import Told, judge, missed, not_judged, table
from tests.truth.run import NotRecorded, absent, compared, lacking, measure, phases_of

SEEDS: Final = "8"
"""Fewer make no finding that one may rely on."""
_OUT: Final = Path(__file__).resolve().parents[2] / "out/truth"
_ADDING: Final = "add a kernel: weaklink guests list says how"
PARTS: Final = ("causes", "predictions", "nothing", "synthetic")


def main(words: list[str] | None = None) -> int:
    """Record, judge, and print the tables."""
    parser = argparse.ArgumentParser(prog="just truth", description=__doc__)
    parser.add_argument("causes", nargs="*", metavar="CAUSE", help="words of names of causes: no other part")
    parser.add_argument("--only", choices=PARTS, help="one part (default: all)")
    parser.add_argument("--seeds", default=SEEDS, metavar="N", help=f"of causes, as in weaklink run (default: {SEEDS})")
    parser.add_argument("--pairs", type=int, default=nothing.PAIRS, metavar="N",
                        help=f"of each guest against itself (default: {nothing.PAIRS})")  # fmt: skip
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
    parts = [arguments.only] if arguments.only else PARTS[:1] if arguments.causes else PARTS
    right = True
    try:
        if "causes" in parts:
            right &= _causes(chosen, arguments.seeds, out, arguments.jobs)
        if "predictions" in parts:
            right &= _predictions(known, out / "predictions", arguments.jobs)
        if "nothing" in parts:
            right &= _nothing(arguments.pairs, out / "nothing", arguments.jobs)
        if "synthetic" in parts:
            right &= not made_up.main([])
    except WeaklinkError as error:
        print(f"just truth: {error}\n{error.hint}", file=sys.stderr)
        return error.exit_code
    except NotRecorded as reason:
        print(f"just truth: {reason}", file=sys.stderr)
        return 1
    return 0 if right else 1


def _causes(chosen: Sequence[Cause], seeds: str, out: Path, jobs: int) -> bool:
    reasons = {one.name: lacking(one) for one in chosen}
    here = [one for one in chosen if not reasons[one.name]]
    if not here:
        raise ArtifactUnavailable("; ".join(dict.fromkeys(reasons.values())), hint=_ADDING)
    measure(here, seeds, out, jobs)
    told: list[Told] = []
    for cause in chosen:
        if reasons[cause.name]:
            told += not_judged(cause, reasons[cause.name])
            continue
        try:
            told += judge(cause, compared(cause, seeds, out))
        except NotRecorded as reason:
            told += missed(cause, str(reason))
    print(table(told, {one.name: (one.base, one.other) for one in chosen}))
    return not any(one.miss for one in told)


def _predictions(known: Sequence[Cause], out: Path, jobs: int) -> bool:
    lacks = {base: absent(base) for base in predictions.BASES}
    here = [base for base, reason in lacks.items() if not reason]
    more = [guest for guest in predictions.MORE if not absent(guest)]
    predictions.measure(known, here, more, out, jobs)
    told = []
    for base, reason in lacks.items():
        if reason:
            print(f"predictions of what switches cost {base} are not judged: {reason}\n")
            continue
        rows = predictions.of_switches(known, base, out)
        few = predictions.too_few(rows)
        print(predictions.table(rows, f"planted in {base}"), *([f"MISS: {few}"] if few else []), "", sep="\n")
        told += [*rows, *([predictions.Foretold("", "", miss=few)] if few else [])]
    kernels = list(predictions.of_kernels(more, out))
    print(predictions.table(kernels, "on"))
    return not any(one.miss for one in [*told, *kernels])


def _nothing(pairs: int, out: Path, jobs: int) -> bool:
    here = [guest for guest in nothing.GUESTS if not absent(guest)]
    for guest in nothing.GUESTS:
        if guest not in here:
            print(f"{guest} against itself is not judged: {absent(guest)}")
    if not here:
        raise ArtifactUnavailable("no guest is here that could be held against itself", hint=_ADDING)
    nothing.measure(here, pairs, out, jobs)
    outcomes = [nothing.outcome(guest, number, out) for guest in here for number in range(pairs)]
    print(nothing.table(outcomes))
    return not any(one.said for one in outcomes)


if __name__ == "__main__":
    sys.exit(main())
