"""The wait-for graph: who waits for whom and how long, what that comes down to, and who waits for one another only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from analysis.text import number, percent, some
from analysis.trace.cascade import HOPS, MOST, Pieces, cascade, covered
from analysis.trace.groups import Groups, grouped
from analysis.trace.knots import knots
from analysis.trace.operations import text
from analysis.trace.rows import Rows
from analysis.trace.spans import BLOCKED, INTERRUPTS, NODES, Spans, spans
from analysis.trace.table import Answer, Column, Table
from analysis.trace.trace import Trace
from analysis.trace.window import NAMES, Ints
from probes.events import ROLES
from profiler.errors import NothingToShow

_EDGE: Final = (
    Column("thread", "thread", "text"), Column("operation", "operation", "text"),
    Column("waits_for", "waits for", "text"), Column("woken_by", "woken by", "text"),
)  # fmt: skip
_EDGES: Final = (
    Column("count", "count"), Column("ns", "ns"), Column("share", "share", "share", 1),
    Column("cascaded_ns", "cascaded"),
)  # fmt: skip
_KNOT: Final = Column("knot", "knot")
_ROOT: Final = (Column("waits_for", "waits for", "text"), Column("doing", "doing", "text"))
_ROOTS: Final = (Column("ns", "ns"), Column("share", "share", "share"), Column("once_ns", "once"),
                 Column("once_share", "of window", "share"))  # fmt: skip
HEAVY: Final = 0.01
"""An edge that is waited on for less than this share of the windows holds no knot together, and opens none."""
_SHOWN: Final = 6
_THREADS: Final = len(NODES)
"""Codes of nodes: NODES from 0, then the numbers of threads, or their roles, of which the first is not known."""
_Columns = dict[str, npt.NDArray[Any]]


def answer(trace: Trace) -> Answer:
    """The table of one guest: a row per edge, with what the thread did that waits and the one that woke it.

    ``ns`` of a thread add up to its time off the CPU.  ``cascaded_ns`` is what chains of waits leave with the edge:
    over all edges it adds up to ``ns``.  Raises NothingToShow if no thread waited.
    """
    rows, names, length, cut = Rows(), list(NAMES), 0, 0
    for line, _, doing in trace.lines():
        names = list(line.window.names)
        length += line.window.end - line.window.begin
        found = spans(line, doing)
        waits = _waits(trace, found)
        pieces = cascade(found, waits)
        cut += pieces.cut
        cascaded = np.rint(np.bincount(pieces.via, weights=pieces.ns, minlength=len(found))).astype(np.int64)
        # An idle thread waits for nothing of its own, but others may wait for what it waits for.
        edges = np.union1d(waits, np.flatnonzero(cascaded))
        own = np.isin(edges, waits)
        rows.add(
            **_who(trace, found, edges), operation=found.doing[edges], by=found.by[edges], count=own,
            ns=np.where(own, found.ns[edges], 0), cascaded=cascaded[edges], blocked=found.state[edges] == BLOCKED,
            mine=trace.mine(line)[found.thread[edges]],
        )  # fmt: skip
    columns = rows.columns()
    if not columns or not columns["mine"].any():
        raise _nothing(trace)
    knot = _knots(columns, length)
    notes = (
        "Ns: off the CPU, until woken or until there was a CPU; of a thread they add up to all such time. Cascaded:"
        " where the thread that is waited for waits itself, that part is moved on to what it waits for.",
        *_told(trace, columns, knot, length),
        *_cut(cut),
        *trace.unseen("context switches", "wake-ups"),
    )
    mine = {name: values[columns["mine"]] for name, values in columns.items()}
    whole, aligned = (_edges(trace, mine, names, knot, by_role=by_role) for by_role in (False, True))
    return Answer(trace, Table(_EDGE, (*_EDGES, _KNOT) if knot else _EDGES, whole, notes),
                  Table(_EDGE, _EDGES, aligned, notes, ("ns", "cascaded_ns")))  # fmt: skip


def roots(trace: Trace) -> Answer:
    """The table of one guest: what all waits come down to, and what the thread that ran meanwhile did.

    ``ns`` has each waiting thread's time, ``once_ns`` the time in which at least one waited.  Raises NothingToShow if
    no thread waited.
    """
    rows, names, length, cut = Rows(), list(NAMES), 0, 0
    for line, _, doing in trace.lines():
        names = list(line.window.names)
        found = spans(line, doing)
        waits = _waits(trace, found)
        pieces = cascade(found, waits[trace.mine(line)[found.thread[waits]]])
        cut += pieces.cut
        _add_roots(rows, trace, found, pieces, length - line.window.begin)
        length += line.window.end - line.window.begin
    columns = rows.columns()
    if not columns or not len(columns["begin"]):
        raise _nothing(trace)
    notes = (
        "Each moment of a wait goes to what it comes down to, through all that wait for one another. Ns: of all threads"
        " that wait. Once: of several that wait at the same time, one. Rows overlap in time: neither is what would be"
        " saved.",
        *_cut(cut),
        *trace.unseen("context switches", "wake-ups"),
    )
    whole, aligned = (_roots(trace, columns, names, length, by_role=by_role) for by_role in (False, True))
    return Answer(trace, Table(_ROOT, _ROOTS, whole, notes), Table(_ROOT, _ROOTS, aligned, notes, ("ns", "once_ns")))


def _waits(trace: Trace, found: Spans) -> Ints:
    """The spans that wait: who runs where there is nothing else to do waits for nothing."""
    idle = trace.threads.role_of(found.line.threads) == ROLES.index("idle")
    return np.flatnonzero(found.waiting & ~idle[found.thread] & (found.ns > 0))


def _who(trace: Trace, found: Spans, waits: Ints) -> _Columns:
    """Who waits, and for which node, by thread and by role."""
    threads = found.line.threads.astype(np.int64)
    roles = trace.threads.role_of(found.line.threads) + 1
    thread, node = found.thread[waits], found.node[waits]
    return {"thread": threads[thread] + _THREADS, "role": roles[thread] + _THREADS, **_of_nodes(node, threads, roles)}


def _of_nodes(node: Ints, threads: Ints, roles: Ints) -> _Columns:
    place = np.maximum(node, 0)
    return {"node": np.where(node < 0, node + _THREADS, threads[place] + _THREADS),
            "node_role": np.where(node < 0, node + _THREADS, roles[place] + _THREADS)}  # fmt: skip


def _add_roots(rows: Rows, trace: Trace, found: Spans, pieces: Pieces, shift: int) -> None:
    """A row per piece, with times from the begin of the first window."""
    runs = pieces.ran >= 0
    node, doing = found.node[pieces.via].copy(), found.by[pieces.via].copy()
    node[runs], doing[runs] = found.thread[pieces.ran[runs]], found.doing[pieces.ran[runs]]
    threads, roles = found.line.threads.astype(np.int64), trace.threads.role_of(found.line.threads) + 1
    rows.add(**_of_nodes(node, threads, roles), doing=doing, begin=pieces.begin + shift, end=pieces.end + shift)


def _edges(trace: Trace, columns: _Columns, names: Sequence[str], knot: dict[int, int], *, by_role: bool
           ) -> list[tuple[Any, ...]]:  # fmt: skip
    ends = ("role", "node_role") if by_role else ("thread", "node")
    groups = grouped([columns[ends[0]], columns["operation"], columns[ends[1]], columns["by"]])
    counts, ns, cascaded = (groups.sums(columns[name]).tolist() for name in ("count", "ns", "cascaded"))
    whole = max(sum(ns), 1)
    found = []
    for place, (thread, operation, node, by) in enumerate(zip(*(key.tolist() for key in groups.keys), strict=True)):
        key = (_named(trace, thread, by_role=by_role), text(operation, names), _named(trace, node, by_role=by_role),
               text(by, names))  # fmt: skip
        row = (*key, counts[place], ns[place], ns[place] / whole, cascaded[place])
        inside = knot.get(thread) if node in knot and knot.get(thread) == knot[node] else None
        found.append(row if by_role or not knot else (*row, inside))
    return sorted(found, key=lambda row: (-row[5], row[:4]))


def _roots(trace: Trace, columns: _Columns, names: Sequence[str], length: int, *, by_role: bool
           ) -> list[tuple[Any, ...]]:  # fmt: skip
    groups: Groups = grouped([columns["node_role" if by_role else "node"], columns["doing"]])
    ns = groups.sums(columns["end"] - columns["begin"])
    once = covered(groups.group, columns["begin"], columns["end"], len(groups))
    figures = zip(ns.tolist(), (ns / max(int(ns.sum()), 1)).tolist(), once.tolist(), (once / max(length, 1)).tolist(),
                  strict=True)  # fmt: skip
    keys = [(_named(trace, node, by_role=by_role), text(doing, names))
            for node, doing in zip(*(key.tolist() for key in groups.keys), strict=True)]  # fmt: skip
    return sorted(((*key, *row) for key, row in zip(keys, figures, strict=True)), key=lambda row: (-row[2], row[:2]))


def _named(trace: Trace, code: int, *, by_role: bool) -> str:
    if code < _THREADS:
        return NODES[code]
    if by_role:
        return ("", *ROLES)[code - _THREADS]
    return f"{code - _THREADS} {trace.threads.role(code - _THREADS)}".rstrip()


def _knots(columns: _Columns, length: int) -> dict[int, int]:
    """The number of the knot, from 1, that a node is in.  A wait for a CPU is nobody's, what is not known no edge."""
    chosen = columns["blocked"] & ((columns["node"] >= _THREADS) | (columns["node"] < INTERRUPTS))
    if not chosen.any():
        return {}
    groups = grouped([columns[name][chosen] for name in ("thread", "node")])
    heavy = groups.sums(columns["ns"][chosen]) >= HEAVY * length
    edges: dict[int, list[int]] = {}
    for thread, node in zip(*(key[heavy].tolist() for key in groups.keys), strict=True):
        edges.setdefault(thread, []).append(node)
    return {node: place for place, members in enumerate(knots(edges), 1) for node in members}


def _told(trace: Trace, columns: _Columns, knot: dict[int, int], length: int) -> list[str]:
    """A sentence for each knot, with the time that its threads wait for one another."""
    found = []
    for place in sorted(set(knot.values())):
        members = sorted(node for node, of in knot.items() if of == place)
        inside = np.isin(columns["thread"], members) & np.isin(columns["node"], members)
        ns = int(columns["ns"][inside].sum())
        who = some([_named(trace, node, by_role=False) for node in members], _SHOWN)
        found.append(f"Knot {place}: {who} wait for one another, {number(ns)} ns in all, and for nobody else: nothing"
                     " outside holds them up, a CPU aside.")  # fmt: skip
    if not found:
        found.append(f"No knot: no threads wait only for one another (edges below {percent(HEAVY)} of the window,"
                     f" {number(HEAVY * length)} ns, aside).")  # fmt: skip
    return found


def _cut(ns: int) -> list[str]:
    if not ns:
        return []
    return [f"Cut: {number(ns)} ns stay with a wait that is not the last of its chain, as chains are followed for"
            f" {HOPS} links, and {MOST:,} pieces of a window are made."]  # fmt: skip


def _nothing(trace: Trace) -> NothingToShow:
    return NothingToShow(f"no wait{trace.who} in {trace.where} of {trace.guest}",
                         hint=trace.hint("context switches", "wake-ups"))  # fmt: skip
