"""Where the instructions went: functions, layers, operations, thread roles, stacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from analysis.columns import Columns, read
from analysis.trace.stacks import Stacks
from analysis.trace.table import Answer, Column, Table
from analysis.trace.trace import Trace
from probes.events import COSTLY_INSTRUCTIONS, ROLES
from probes.names import readable
from profiler.errors import NothingToShow, UsageError

_VALUES: Final = (
    Column("instructions", "instr"), Column("share", "share", "share"), Column("calls", "calls"),
    Column("per_call", "/call"), Column("rep_bytes", "rep bytes", spare=1), Column("idle_ns", "idle ns", spare=2),
    Column("costly", "costly"),
    *(Column(name, name, spare=3 + place) for place, name in enumerate(COSTLY_INSTRUCTIONS)),
)  # fmt: skip
_DEAR: Final = ("costly", *COSTLY_INSTRUCTIONS)
_HEADLINE: Final = ("instructions", "per_call", "calls")
_STACK: Final = (Column("stack", "function < caller", "text"),)
_STACKS: Final = (Column("instructions", "self"), Column("share", "share", "share"), Column("inclusive", "inclusive"),
                  Column("calls", "calls"))  # fmt: skip
_FUNCTION: Final = (Column("function", "function", "text"),)


def answer(trace: Trace, by: str = "function") -> Answer:
    """The table of one guest, from the ledger, with costly instructions where they were counted; most first.

    Calls of a layer are entries of its functions; of an operation its entries, where the recording counted those.
    """
    if by == "function":
        keys: tuple[Column, ...] = (Column("function", "function", "text"), Column("layer", "layer", "text"))
    else:
        keys = (Column(by, by, "text"),)
    names = [column.name for column in keys]
    rows = _ledger(trace, "instructions", "calls", "rep_bytes")
    if not len(rows.run):
        raise NothingToShow(f"the ledger of {trace.guest} has nothing{trace.who} in {trace.where}",
                            hint=trace.hint("instructions per function"))  # fmt: skip
    group, index = rows.groups(names)
    found = index.tolist()
    sums = [
        rows.sums(name, group, len(index), 1)[:, 0].astype(np.int64) for name in ("instructions", "calls", "rep_bytes")
    ]
    if by == "operation":
        called = _entries(trace)
        sums[1] = np.array([called.get(key[0], 0) for key in found], dtype=np.int64)
    idle, costly = _idle(trace, names), _costly(trace, names)
    whole = max(int(sums[0].sum()), 1)
    table: list[tuple[Any, ...]] = []
    none = [0 if costly else None] * len(COSTLY_INSTRUCTIONS)
    for key, instructions, calls, moved in zip(found, *(one.tolist() for one in sums), strict=True):
        per_call = instructions / calls if calls else None
        cost = (instructions, instructions / whole, calls or None, per_call, moved, idle.get(key))
        dear = costly.get(key, none)
        table.append((*key, *cost, sum(dear) if costly else None, *dear))
    kept = [place for place, column in enumerate(_VALUES)
            if costly or column.name not in _DEAR]  # fmt: skip
    table = sorted(table, key=lambda row: (-row[len(names)], row[: len(names)]))
    cut = [tuple(row[: len(names)]) + tuple(row[len(names) + place] for place in kept) for row in table]
    return Answer(trace, Table(keys, tuple(_VALUES[place] for place in kept), cut, _notes(trace, by), _HEADLINE))


def _ledger(trace: Trace, *values: str) -> Columns:
    """What is asked for of the ledger, with some of its figures."""
    names = ["phase", "role", "operation", "layer", "function", *values]
    return _asked(trace, read([trace.recording], "ledger", names, {"function": readable}))


def _asked(trace: Trace, rows: Columns) -> Columns:
    """The rows of the phases and of the role that are asked for."""
    rows = rows.where(np.isin(rows.values["phase"], trace.phases))
    if trace.thread is None:
        return rows
    if trace.thread not in ROLES:
        raise UsageError("the ledger knows the role of a thread, not which it is", hint=f"roles: {', '.join(ROLES)}")
    return rows.where(rows.coded("role", [trace.thread]))


def _entries(trace: Trace) -> dict[str, int]:
    rows = read([trace.recording], "calls", ["phase", "operation", "calls"])
    rows = rows.where(np.isin(rows.values["phase"], trace.phases))
    group, index = rows.groups(["operation"])
    return dict(zip((key[0] for key in index.tolist()),
                    rows.sums("calls", group, len(index), 1)[:, 0].astype(int).tolist(), strict=True))  # fmt: skip


def _idle(trace: Trace, names: Sequence[str]) -> dict[tuple[Any, ...], int]:
    """Idle ns by the same keys; nothing where it could not be read."""
    table = trace.recording.table("ledger", ["idle_ns"])
    if table["idle_ns"].null_count:
        return {}
    rows = _ledger(trace, "idle_ns")
    group, index = rows.groups(names)
    return dict(zip(index.tolist(), rows.sums("idle_ns", group, len(index), 1)[:, 0].astype(int).tolist(), strict=True))


def _costly(trace: Trace, names: Sequence[str]) -> dict[tuple[Any, ...], list[int]]:
    """Counts of each of COSTLY_INSTRUCTIONS by the same keys; nothing where none were counted."""
    rows = _asked(trace, read([trace.recording], "costly",
                              ["phase", "role", "operation", "layer", "function", "instruction", "count"],
                              {"function": readable}))  # fmt: skip
    if not len(rows.run):
        return {}
    group, index = rows.groups([*names, "instruction"])
    found: dict[tuple[Any, ...], list[int]] = {}
    place = {name: number for number, name in enumerate(COSTLY_INSTRUCTIONS)}
    for (*key, instruction), count in zip(
        index.tolist(), rows.sums("count", group, len(index), 1)[:, 0].tolist(), strict=True
    ):
        if instruction in place:
            found.setdefault(tuple(key), [0] * len(place))[place[instruction]] = int(count)
    return found


def _notes(trace: Trace, by: str) -> tuple[str, ...]:
    notes = []
    if by == "layer":
        notes.append("Calls of a layer are entries of its functions.")
    return (*notes, *trace.unseen("costly instructions"))


def stacks(trace: Trace) -> Answer:
    """The table of one guest: a row per stack, most instructions first; side by side per function, with what it calls.

    Raises NothingToShow if the recording has no stacks.
    """
    tree = Stacks(trace.recording)
    rows = _asked(trace, read([trace.recording], "stacks", ["phase", "role", "stack", "instructions", "calls"]))
    if not len(tree) or not len(rows.run):
        raise NothingToShow(f"the recording of {trace.guest} has no stacks", hint="record it with --stacks")
    own, calls = (tree.own(rows.values["stack"], rows.values[name]) for name in ("instructions", "calls"))
    inclusive = tree.inclusive(own)
    whole = max(int(rows.values["instructions"].sum()), 1)
    order = np.argsort(-own, kind="stable")
    order = order[own[order] > 0]
    table = [(tree.path(frame), int(own[frame]), int(own[frame]) / whole, int(inclusive[frame]), int(calls[frame]))
             for frame in order.tolist()]  # fmt: skip
    return Answer(trace, Table(_STACK, _STACKS, table), _functions(tree, own, inclusive, calls, whole))


def _functions(tree: Stacks, own: npt.NDArray[Any], inclusive: npt.NDArray[Any], calls: npt.NDArray[Any], whole: int
               ) -> Table:  # fmt: skip
    size = len(tree.names)
    outer = np.where(tree.recursive(), 0, inclusive)  # a function that calls itself has its work once
    figures = [np.rint(np.bincount(tree.function, weights=values, minlength=size)).astype(np.int64).tolist()
               for values in (own, outer, calls)]  # fmt: skip
    rows = [(name, mine, mine / whole, with_callees, called)
            for name, mine, with_callees, called in zip(tree.names, *figures, strict=True) if with_callees]  # fmt: skip
    rows.sort(key=lambda row: (-row[3], row[0]))
    return Table(_FUNCTION, _STACKS, rows, headline=("inclusive", "instructions"))
