"""Tables of the trace commands as text, CSV and JSON.

Text is at most as wide as is said.  One guest gets a line per row with all figures that fit; several get their most
important figures side by side, in lines of what they have in common.
"""

from __future__ import annotations

import csv
import io
import json
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, Final

from analysis.text import number
from analysis.trace.table import Answer, Column, Table
from analysis.views.escape import clean, for_csv
from analysis.views.terminal import fit

WIDTH: Final = 80
_KEY: Final = 14  # the least that is left of a key where lines are full
_CELLS: Final = 6  # figures in a line where guests stand side by side
_ABREAST: Final = 3


def text(answers: Sequence[Answer], notes: Sequence[str] = (), *, width: int = WIDTH, limit: int | None = None) -> Iterator[str]:
    """Lines of text, each ending in a newline."""
    if len(answers) == 1:
        yield from _lines(_title(answers[0]), width)
        yield from _single(answers[0].table, width, limit)
        yield from _notes(answers[0].table.notes, width)
    else:
        tables = [answer.aligned or answer.table for answer in answers]
        yield from _lines(f"{clean(answers[0].trace.where)}: {len(answers)} guests", width)
        yield from _side_by_side([clean(answer.trace.guest) for answer in answers], tables, width, limit)
        told: dict[str, list[str]] = {}
        for answer, table in zip(answers, tables, strict=True):
            for note in table.notes:
                told.setdefault(note, []).append(answer.trace.guest)
        yield from _notes([note if len(guests) == len(answers) else f"{', '.join(guests)}: {note}"
                           for note, guests in told.items()], width)  # fmt: skip
        yield from _notes(["All figures of one of them: --guest."], width)
    yield from _notes(notes, width)


def _title(answer: Answer) -> str:
    return clean(f"{answer.trace.guest}, seed {answer.trace.recording.seed}, {answer.trace.where}")


def _lines(line: str, width: int) -> Iterator[str]:
    yield from (f"{part}\n" for part in textwrap.wrap(line, width, subsequent_indent="  "))


def _notes(notes: Sequence[str], width: int) -> Iterator[str]:
    for note in notes:
        yield from _lines(clean(note, 2000), width)


def _single(table: Table, width: int, limit: int | None) -> Iterator[str]:
    rows = table.rows if limit is None else table.rows[:limit]
    shown = list(range(len(table.columns)))
    cells = [[_cell(column, row[place]) for row in rows] for place, column in enumerate(table.columns)]
    widths = [max([len(column.title), *map(len, some)]) for column, some in zip(table.columns, cells, strict=True)]
    keys = [place for place in shown if table.columns[place].kind == "text"]

    def needed() -> int:
        return sum(min(widths[place], _KEY) if place in keys else widths[place] for place in shown) + len(shown) - 1

    while needed() > width and (spare := max(shown, key=lambda place: table.columns[place].spare)) is not None:
        if not table.columns[spare].spare:
            break
        shown.remove(spare)
    keys = [place for place in keys if place in shown]
    _shrink(widths, keys, sum(widths[place] for place in shown) + len(shown) - 1 - width)
    yield _line([(table.columns[place], table.columns[place].title, widths[place]) for place in shown], width)
    for row in range(len(rows)):
        yield _line([(table.columns[place], cells[place][row], widths[place]) for place in shown], width)
    yield from _rest(len(table.rows) - len(rows))


def _shrink(widths: list[int], keys: Sequence[int], excess: int) -> None:
    """Take some cells from the widest of the keys."""
    while excess > 0 and keys:
        widest = max(keys, key=lambda place: widths[place])
        if widths[widest] <= 4:
            return
        widths[widest] -= 1
        excess -= 1


def _rest(rows: int) -> Iterator[str]:
    if rows > 0:
        yield f"... and {rows:,} more\n"


def _line(cells: Sequence[tuple[Column, str, int]], width: int) -> str:
    parts = [fit(cell, size) if column.kind == "text" else f"{cell:>{size}}" for column, cell, size in cells]
    return fit(" ".join(parts), width).rstrip() + "\n"


def _cell(column: Column, value: Any) -> str:
    if value is None or value == "":
        return "-"
    if column.kind == "text":
        return clean(value)
    return f"{100 * value:.1f} %" if column.kind == "share" else number(float(value))


def _side_by_side(guests: Sequence[str], tables: Sequence[Table], width: int, limit: int | None) -> Iterator[str]:
    first = tables[0]
    keys = len(first.keys)
    figures: dict[tuple[Any, ...], list[tuple[Any, ...] | None]] = {}
    for place, table in enumerate(tables):
        for row in table.rows:
            figures.setdefault(row[:keys], [None] * len(tables))[place] = row
    names = [column.name for column in first.columns]
    for start in range(0, len(guests), _ABREAST):
        block = range(start, min(start + _ABREAST, len(guests)))
        shown = [names.index(name) for name in first.headline[: max(_CELLS // len(block), 1)]]
        if start:
            yield "\n"
        yield from _block(guests, first, figures, block, shown, width, limit)


def _block(guests: Sequence[str], first: Table, figures: dict[tuple[Any, ...], list[tuple[Any, ...] | None]],
           block: range, shown: Sequence[int], width: int, limit: int | None) -> Iterator[str]:  # fmt: skip
    columns = [first.columns[place] for place in shown]
    keys = list(figures)[:limit]
    texts = {key: [[_cell(column, None if row is None else row[place]) for column, place in zip(columns, shown, strict=True)]
                   for row in (figures[key][guest] for guest in block)] for key in keys}  # fmt: skip
    widths = [[max([len(column.title), *(len(texts[key][guest][place]) for key in keys)])
               for place, column in enumerate(columns)] for guest in range(len(block))]  # fmt: skip
    names = [[_cell(column, key[place]) for key in keys] for place, column in enumerate(first.keys)]
    sizes = [max([len(column.title), *map(len, some)]) for column, some in zip(first.keys, names, strict=True)]
    taken = sum(sum(some) + len(some) + 1 for some in widths)
    _shrink(sizes, range(len(sizes)), sum(sizes) + len(sizes) - 1 + taken - width)
    left = sum(sizes) + len(sizes) - 1
    heads = [fit(guests[guest], sum(some) + len(some) - 1).rstrip() for guest, some in zip(block, widths, strict=True)]
    yield fit(" " * left + "".join(f"  {head:>{sum(some) + len(some) - 1}}" for head, some in zip(heads, widths, strict=True)),
              width).rstrip() + "\n"  # fmt: skip
    titles = [[column.title for column in columns]] * len(block)
    yield _abreast([fit(column.title, size) for column, size in zip(first.keys, sizes, strict=True)], titles, widths, width)
    for row, key in enumerate(keys):
        yield _abreast([fit(some[row], size) for some, size in zip(names, sizes, strict=True)], texts[key], widths, width)
    yield from _rest(len(figures) - len(keys))


def _abreast(keys: Sequence[str], cells: Sequence[Sequence[str]], widths: Sequence[Sequence[int]], width: int) -> str:
    line = " ".join(keys)
    for some, sizes in zip(cells, widths, strict=True):
        line += " " + "".join(f" {cell:>{size}}" for cell, size in zip(some, sizes, strict=True))
    return fit(line, width).rstrip() + "\n"


def comma_separated(answers: Sequence[Answer], limit: int | None = None) -> Iterator[str]:
    """CSV: a head, and a line for each row of each guest; cells that are not known are empty."""
    columns = answers[0].table.columns
    yield csv_line(["guest", "seed", "phase", *(column.name for column in columns)])
    for answer in answers:
        trace = answer.trace
        phase = " ".join(trace.phase_names)
        for row in answer.table.rows[:limit]:
            yield csv_line([trace.guest, trace.recording.seed, phase, *row])


def csv_line(cells: Sequence[Any]) -> str:
    """One line of CSV."""
    line = io.StringIO()
    shown = [for_csv(cell) if isinstance(cell, str) else "" if cell is None else cell for cell in cells]
    csv.writer(line, lineterminator="\n").writerow(shown)
    return line.getvalue()


def as_json(answers: Sequence[Answer], notes: Sequence[str] = (), limit: int | None = None) -> Iterator[str]:
    """JSON: what was looked at, and the rows of each guest."""
    value = {
        "notes": [clean(note, 2000) for note in notes],
        "guests": [
            {
                "guest": clean(answer.trace.guest), "seed": answer.trace.recording.seed,
                "phases": [clean(name) for name in answer.trace.phase_names],
                "since_ns": answer.trace.since, "until_ns": answer.trace.until,
                "thread": None if answer.trace.thread is None else clean(answer.trace.thread),
                "notes": [clean(note, 2000) for note in answer.table.notes],
                "rows": [json_row(answer.table.columns, row) for row in answer.table.rows[:limit]],
            }
            for answer in answers
        ],
    }  # fmt: skip
    yield json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def json_row(columns: Sequence[Column], row: Sequence[Any]) -> dict[str, Any]:
    """One row as JSON has it."""
    return {column.name: clean(value) if isinstance(value, str) else value
            for column, value in zip(columns, row, strict=True)}  # fmt: skip
