"""Events as lines of text, CSV and JSON, written as they come."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any, Final

from analysis.text import number
from analysis.trace.listing import COLUMNS
from analysis.trace.trace import Threads
from analysis.views.escape import clean, for_csv
from analysis.views.terminal import fit
from analysis.views.trace import csv_line, json_row
from probes.names import readable

Rows = Iterable[list[tuple[Any, ...]]]
_DEEPEST: Final = 12
_WHO: Final = 15
_REMEMBERED: Final = 1 << 16  # what was said of events: a million have few different ones
_TO: Final = ("switch", "wake", "thread-new")
_LOCKS: Final = ("lock-contended", "lock-acquired")
_CALLS: Final = ("op-exit", "syscall-exit")


def text(rows: Rows, threads: Threads, locks: Mapping[int, str], width: int) -> Iterator[str]:
    """A line per event: ns since the phase began, thread, and what happened, indented by what it happened in.

    Where its stack is known that is in a line below, the innermost function first.
    """
    phase = None
    titles: dict[int, str] = {}
    told: dict[tuple[Any, ...], str] = {}
    for piece in rows:
        for row in piece:
            if row[0] != phase:
                phase = row[0]
                yield fit(f"{'ns':>12}  {'thread':<{_WHO}} phase {clean(phase)}", width).rstrip() + "\n"
            who = titles.get(row[3])
            if who is None:
                who = titles[row[3]] = fit(clean(threads.title(row[3])), _WHO)
            what = told.get(row[5:9])
            if what is None:
                if len(told) == _REMEMBERED:
                    told.clear()
                what = told[row[5:9]] = _said(row, threads, locks)
            said = f"{row[1]:>12,}  {who} {'  ' * min(row[4], _DEEPEST)}{what}"
            yield fit(said, width).rstrip() + "\n"
            if row[9]:
                yield fit(f"{'':14}in {clean(row[9])}", width).rstrip() + "\n"


def _said(row: tuple[Any, ...], threads: Threads, locks: Mapping[int, str]) -> str:
    kind, name, how, value = row[5:9]
    shown = [kind, clean(readable(name)), how]
    if kind in _TO:
        shown.append(f"-> {clean(threads.title(value))}")
    elif kind in _LOCKS and value:
        shown.append(clean(locks.get(value) or f"{value & (1 << 64) - 1:#x}"))
    elif kind in _CALLS and value:
        shown.append(f"{value:,} instructions")
    elif kind == "idle-end":
        shown.append(f"{number(value)} ns")
    elif kind == "packet" and value >= 0:
        shown.append(f"{value:,} bytes")
    return " ".join(filter(None, shown))


def comma_separated(guest: str, seed: int, rows: Rows, *, head: bool) -> Iterator[str]:
    """CSV, with a head if it is the first."""
    if head:
        yield csv_line(["guest", "seed", *(column.name for column in COLUMNS)])
    texts = [column.kind == "text" for column in COLUMNS]
    for piece in rows:
        columns = [
            _harmless(cells) if text else cells for cells, text in zip(zip(*piece, strict=True), texts, strict=True)
        ]
        lines = io.StringIO()
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerows(zip(repeat(for_csv(guest)), repeat(seed), *columns, strict=False))  # as long as the columns
        yield lines.getvalue()


def _harmless(cells: Sequence[str]) -> Iterable[str]:
    """Cells for CSV; of a million there are few different ones, and each is looked at once."""
    return map({cell: for_csv(cell) for cell in set(cells)}.__getitem__, cells)


def as_json(guest: str, seed: int, rows: Rows, *, first: bool, last: bool) -> Iterator[str]:
    """One document of all guests, an event per line."""
    head = f'{{"guest": {json.dumps(clean(guest))}, "seed": {seed}, "events": ['
    yield ('{"guests": [\n' if first else "") + head
    comma = "\n"
    for piece in rows:
        for row in piece:
            yield comma + json.dumps(json_row(COLUMNS, row), ensure_ascii=False)
            comma = ",\n"
    yield "\n]}" + ("\n]}\n" if last else ",\n")
