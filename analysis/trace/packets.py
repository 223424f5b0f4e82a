"""Packets: how many in which direction, for which operation."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from analysis.trace.groups import grouped, known
from analysis.trace.operations import INTERRUPT, Doing, text
from analysis.trace.rows import Rows
from analysis.trace.table import Answer, Column, Table
from analysis.trace.trace import Trace
from analysis.trace.window import KIND, NAMES
from probes.events import HOWS
from probes.names import readable
from profiler.errors import NothingToShow

_KEYS: Final = (Column("direction", "direction", "text"), Column("operation", "operation", "text"))
_FUNCTION: Final = Column("function", "function", "text")
_VALUES: Final = (Column("count", "count"), Column("bytes", "bytes"), Column("mean", "/packet"), Column("max", "max"))
_HEADLINE: Final = ("count", "bytes", "mean")
_NOTE: Final = "Bytes are of packets whose length could be read."


def answer(trace: Trace) -> Answer:
    """The table of one guest: a row per direction, operation and the kernel's function; most packets first.

    Raises NothingToShow if there were none.
    """
    rows, names = Rows(), list(NAMES)
    for line, _, doing in trace.lines(("packet",)):
        names = list(line.window.names)
        _add(rows, doing, trace.mine(line))
    columns = rows.columns()
    if not columns or not len(columns["bytes"]):
        raise NothingToShow(f"no packet{trace.who} in {trace.where} of {trace.guest}", hint=trace.hint("packets"))
    whole, aligned = (_rows(columns, names, by_function=by) for by in (True, False))
    notes = (_NOTE, *trace.unseen("packets", "packet sizes"))
    return Answer(
        trace, Table((*_KEYS, _FUNCTION), _VALUES, whole, notes), Table(_KEYS, _VALUES, aligned, notes, _HEADLINE)
    )


def _add(rows: Rows, doing: Doing, mine: Any) -> None:
    line = doing.line
    own = np.flatnonzero(line.kind == KIND["packet"])
    own = own[mine[line.thread[own]]]
    event = line.row[own]
    operation = np.where(line.in_irq[own], INTERRUPT, doing.at(own))
    rows.add(direction=line.window.how[event], operation=operation, function=line.window.name[event],
             bytes=line.window.value[event])  # fmt: skip


def _rows(columns: dict[str, Any], names: list[str], *, by_function: bool) -> list[tuple[Any, ...]]:
    groups = grouped([columns[key] for key in ("direction", "operation", *(["function"] if by_function else []))])
    told = columns["bytes"] >= 0
    count = groups.count(told)
    total = groups.sums(columns["bytes"], told)
    keys = [
        (HOWS[direction], text(operation, names), *(readable(names[code]) for code in function))
        for direction, operation, *function in zip(*(key.tolist() for key in groups.keys), strict=True)
    ]
    figures = zip(
        groups.counts.tolist(),
        known(total, count), known(total / np.maximum(count, 1), count),
        groups.percentiles(columns["bytes"], told)["max"], strict=True,
    )  # fmt: skip
    rows = [(*key, *row) for key, row in zip(keys, figures, strict=True)]
    return sorted(rows, key=lambda row: (-row[len(keys[0])], row[: len(keys[0])]))
