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
_KEY: Final = 20  # the least that is left of a key where lines are full
_NAME: Final = 14  # of a guest, if its figures are narrower
_CELLS: Final = 6  # figures in a line where guests stand side by side
_ABREAST: Final = 26  # columns that a guest needs, with its share of the key


def text(
    answers: Sequence[Answer], notes: Sequence[str] = (), *, width: int = WIDTH, limit: int | None = None
) -> Iterator[str]:
    """Lines of text, each ending in a newline."""
    if len(answers) == 1:
        yield from _lines(_title(answers[0]), width)
        yield from _single(answers[0].table, width, limit)
        yield from sentences(answers[0].table.notes, width)
    else:
        tables = [answer.aligned or answer.table for answer in answers]
        yield from _lines(f"{clean(answers[0].trace.where)}: {len(answers)} guests", width)
        yield from _side_by_side([clean(answer.trace.guest) for answer in answers], tables, width, limit)
        told: dict[str, list[str]] = {}
        for answer, table in zip(answers, tables, strict=True):
            for note in table.notes:
                told.setdefault(note, []).append(answer.trace.guest)
        yield from sentences([note if len(guests) == len(answers) else f"{', '.join(guests)}: {note}"
                           for note, guests in told.items()], width)  # fmt: skip
        yield from sentences(["All figures of one of them: --guest."], width)
    yield from sentences(notes, width)


def _title(answer: Answer) -> str:
    return clean(f"{answer.trace.guest}, seed {answer.trace.recording.seed}, {answer.trace.where}")


def _lines(line: str, width: int) -> Iterator[str]:
    yield from (f"{part}\n" for part in textwrap.wrap(line, width, subsequent_indent="  "))


def sentences(notes: Sequence[str], width: int) -> Iterator[str]:
    """Sentences over as many lines as they need."""
    for note in notes:
        yield from _lines(clean(note, 2000), width)


def _single(table: Table, width: int, limit: int | None) -> Iterator[str]:
    rows = table.rows if limit is None else table.rows[:limit]
    cells = [[_cell(column, row[place]) for row in rows] for place, column in enumerate(table.columns)]
    # A text that nothing is known of is left out, and so is the first figure that there is no room for.
    told = [place for place, column in enumerate(table.columns) if column.kind != "text" or {*cells[place]} != {"-"}]
    shown, below = ([place for place in told if table.columns[place].below == under] for under in (False, True))
    bare = {place for place in shown if {*cells[place]} <= {"-", "0"}}
    widths = [max([len(column.title), *map(len, some)]) for column, some in zip(table.columns, cells, strict=True)]
    keys = [place for place in shown if table.columns[place].kind == "text"]

    def needed() -> int:
        return sum(min(widths[place], _KEY) if place in keys else widths[place] for place in shown) + len(shown) - 1

    while needed() > width and (spare := [place for place in shown if table.columns[place].spare]):
        shown.remove(max(spare, key=lambda place: (place in bare, table.columns[place].spare)))
    keys = [place for place in keys if place in shown]
    _shrink(widths, keys, sum(widths[place] for place in shown) + len(shown) - 1 - width)
    yield _line([(table.columns[place], table.columns[place].title, widths[place]) for place in shown], width)
    for row in range(len(rows)):
        yield _line([(table.columns[place], cells[place][row], widths[place]) for place in shown], width)
        yield from (f"{fit(f'    {cells[place][row]}', width).rstrip()}\n" for place in below)
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
    found: dict[tuple[Any, ...], list[tuple[Any, ...] | None]] = {}
    ranks: dict[tuple[Any, ...], int] = {}
    for place, table in enumerate(tables):
        for rank, row in enumerate(table.rows):
            found.setdefault(row[:keys], [None] * len(tables))[place] = row
            ranks[row[:keys]] = min(rank, ranks.get(row[:keys], rank))
    figures = {key: found[key] for key in sorted(found, key=ranks.__getitem__)}
    names = [column.name for column in first.columns]
    abreast = min(len(guests), max(1, min(width // _ABREAST, _CELLS // 2)))
    shown = [names.index(name) for name in first.headline[: _CELLS // abreast]]
    for start in range(0, len(guests), abreast):
        block = range(start, min(start + abreast, len(guests)))
        if start:
            yield "\n"
        yield from _block(guests, first, figures, block, shown, width, limit)


def _block(guests: Sequence[str], first: Table, figures: dict[tuple[Any, ...], list[tuple[Any, ...] | None]],
           block: range, shown: Sequence[int], width: int, limit: int | None) -> Iterator[str]:  # fmt: skip
    columns = [(first.columns[place], place) for place in shown]
    keys = list(figures)[:limit]

    def cells(row: tuple[Any, ...] | None) -> list[str]:
        return [_cell(column, None if row is None else row[place]) for column, place in columns]

    texts = {key: [cells(figures[key][guest]) for guest in block] for key in keys}
    widths = [
        [max([len(column.title), *(len(texts[key][guest][place]) for key in keys)])
         for place, (column, _) in enumerate(columns)] for guest in range(len(block))
    ]  # fmt: skip
    told = {place: [_cell(column, key[place]) for key in keys] for place, column in enumerate(first.keys)}
    told = {place: some for place, some in told.items() if {*some} != {"-"}} or told
    names, heads = list(told.values()), [first.keys[place].title for place in told]
    sizes = [max([len(title), *map(len, some)]) for title, some in zip(heads, names, strict=True)]
    for guest, some in zip(block, widths, strict=True):  # room for the guest's name above its figures
        some[0] += max(0, min(len(guests[guest]), _NAME) - (sum(some) + len(some) - 1))
    spans = [sum(some) + len(some) - 1 for some in widths]
    _shrink(sizes, range(len(sizes)), sum(sizes) + len(sizes) - 1 + sum(spans) + 2 * len(spans) - width)

    def line(left: Sequence[str], right: Sequence[Sequence[str]]) -> str:
        shown = " ".join(fit(text, size) for text, size in zip(left, sizes, strict=True))
        for some, room in zip(right, widths, strict=True):
            shown += " " + "".join(f" {cell:>{size}}" for cell, size in zip(some, room, strict=True))
        return fit(shown, width).rstrip() + "\n"

    above = " " * (sum(sizes) + len(sizes) - 1)
    for guest, span in zip(block, spans, strict=True):
        above += f"  {fit(guests[guest], span).rstrip():>{span}}"
    yield fit(above, width).rstrip() + "\n"
    yield line(heads, [[column.title for column, _ in columns]] * len(block))
    for row, key in enumerate(keys):
        yield line([some[row] for some in names], texts[key])
    yield from _rest(len(figures) - len(keys))


def comma_separated(answers: Sequence[Answer], limit: int | None = None) -> Iterator[str]:
    """CSV: a head, and a line for each row of each guest; cells that are not known are empty.

    A column that only some guests have is a column of all.
    """
    columns = list(dict.fromkeys(column.name for answer in answers for column in answer.table.columns))
    yield csv_line(["guest", "seed", "phase", *columns])
    for answer in answers:
        trace = answer.trace
        phase = " ".join(trace.phase_names)
        place = {column.name: number for number, column in enumerate(answer.table.columns)}
        for row in answer.table.rows[:limit]:
            cells = (row[place[column]] if column in place else None for column in columns)
            yield csv_line([trace.guest, trace.recording.seed, phase, *cells])


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
