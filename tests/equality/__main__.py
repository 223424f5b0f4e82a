"""``just equality``: the probe and each guest's own observer, in one run, compared event by event.

Exit codes: 0 all equal or explained, 1 a difference without an explanation, 3 nothing could be compared.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import images
from tests.equality import freebsd, linux, osv
from tests.equality.sequences import Comparison, Malformed, Missing

_KINDS: Final[Mapping[str, tuple[str, Callable[[str, Path], Iterator[Comparison]]]]] = {
    "linux": ("strace", linux.compare_all),
    "freebsd": ("ktrace", freebsd.compare_all),
    "osv": ("its tracepoints", osv.compare_all),
}
_SHOWN: Final = 20
_ROOT: Final = Path(__file__).resolve().parents[2]


def main(words: list[str] | None = None) -> int:
    """Compare what is here and print a table."""
    parser = argparse.ArgumentParser(prog="just equality", description=__doc__)
    parser.add_argument("guests", nargs="*", help="guests, as in linux-6.12 osv (default: the first of each kind)")
    parser.add_argument("--out", type=Path, default=_ROOT / "out/equality", help="where recordings go")
    arguments = parser.parse_args(words)
    found = []
    for guest, kind in _guests(arguments.guests):
        if not guest:
            adding = f"weaklink guests add {kind} --kind {kind} --kernel FILE"
            print(f"{kind}: not compared, no such kernel is here: {adding}")
            continue
        observer, compare_all = _KINDS[kind]
        try:
            for one in compare_all(guest, arguments.out / guest):
                found.append((observer, one))
                print(f"        {one.program}: {'equal' if one.equal else 'DIFFERS'}", file=sys.stderr)
        except Missing as missing:
            print(f"{guest}: not compared, {missing}")
        except Malformed as error:
            found.append((observer, Comparison(guest, differences=[str(error)])))
    if not found:
        return 3
    print(table(found))
    return 0 if all(one.equal for _, one in found) else 1


def _guests(named: list[str]) -> Iterator[tuple[str, str]]:
    """Give guest and kind, "" for the guest where there is none."""
    known = {guest.name: guest.kind for guest in images.list_guests() if guest.state not in ("not here", "damaged")}
    for name in named:
        yield name if name in known else "", known.get(name, name)
    for kind in _KINDS if not named else ():
        yield next((name for name, of_kind in known.items() if of_kind == kind), ""), kind


def table(found: list[tuple[str, Comparison]]) -> str:
    """Give what was compared, then each reason for what is not alike, then what has none."""
    rows: list[tuple[str, ...]] = [("probe against", "program", "threads", "alike", "results", "explained", "differ")]
    rows += [
        (observer, one.program, *(f"{count:,}" for count in (one.threads, one.alike, one.results,
         one.explained.total(), len(one.differences))))
        for observer, one in found
    ]  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    left = [[cell.ljust(width) for cell, width in zip(row[:2], widths, strict=False)] for row in rows]
    right = [[cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)] for row in rows]
    lines = ["  ".join([*before, *behind]) for before, behind in zip(left, right, strict=True)]
    for _, one in found:
        lines += [f"{one.program}: {count:,} x {reason}" for reason, count in sorted(one.explained.items())]
    for _, one in found:
        lines += [f"{one.program}: {count:,} without a result: {why}" for why, count in sorted(one.unsaid.items())]
    for _, one in found:
        lines += [f"{one.program}: NOT EXPLAINED: {difference}" for difference in one.differences[:_SHOWN]]
        if (more := len(one.differences) - _SHOWN) > 0:
            lines.append(f"{one.program}: NOT EXPLAINED: {more:,} more")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
