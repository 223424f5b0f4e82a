"""Who waits for whom: held against an account of every moment, and against graphs that are written down."""

from __future__ import annotations

import contextlib
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from analysis.trace import cascade as cascades
from analysis.trace import graph, paths
from analysis.trace.cascade import cascade, covered
from analysis.trace.knots import knots
from analysis.trace.spans import ABSENT, BLOCKED, NODES, QUEUED, RUNNING, Spans, spans
from analysis.trace.trace import Trace
from probes.events import EVENT_KINDS, HOWS
from probes.recording import read
from profiler.cli.main import main
from profiler.errors import NothingToShow
from tests.events_strategy import PHASE, Story, Thread, stories
from tests.trace_recordings import record
from tests.unit.test_trace_properties import trace_of

ENOUGH = settings(max_examples=100, deadline=None)
ANY = st.one_of(stories(), stories(vcpus=2))
IDLE = "idle"


def spans_of(trace: Trace) -> Spans:
    ((line, _, doing),) = trace.lines()
    return spans(line, doing)


def column(table: Any, name: str) -> int:
    return [one.name for one in table.columns].index(name)


@ENOUGH
@given(ANY)
def test_spans_leave_no_gap(story: Story) -> None:
    found = spans_of(trace_of(story))
    line = found.line
    assert (found.ns >= 0).all()
    assert (np.diff(found.begins) >= 0).all()
    for place, number in enumerate(line.threads.tolist()):
        mine = found.thread == place
        assert found.begin[mine][0] == story.begin
        assert found.end[mine][-1] == story.end
        assert (found.begin[mine][1:] == found.end[mine][:-1]).all()
        truth = story.threads[number].spent
        assert int(found.ns[mine & found.waiting].sum()) == truth["off"]
        assert int(found.ns[mine & (found.state == RUNNING)].sum()) == truth["on"] + truth["irq"] + truth["idle"]


@ENOUGH
@given(ANY)
def test_a_span_says_what_the_machine_knows(story: Story) -> None:
    found = spans_of(trace_of(story))
    numbers = found.line.threads.tolist()
    truth: Counter[tuple[int, str, int]] = Counter()
    for one in story.stops:
        if one.reason == "exited" or one.thread not in numbers:
            continue
        until = story.end if one.into is None else one.into
        if one.reason in ("preempted", "yielded"):
            truth[one.thread, "a free CPU", until - one.out] += 1
        elif one.woken in (None, -1):
            truth[one.thread, "the window's end" if one.into is None else "not seen", until - one.out] += 1
        else:
            assert one.woken is not None
            truth[one.thread, "woken", one.woken - one.out] += 1
            truth[one.thread, "a free CPU", until - one.woken] += 1
    seen: Counter[tuple[int, str, int]] = Counter()
    lengths: dict[tuple[int, int], int] = defaultdict(int)
    # What belongs together is cut where a call of the thread's begins or ends, which no thread does off the CPU.
    for place in np.flatnonzero(found.waiting).tolist():
        node = int(found.node[place])
        interrupted = node < len(NODES) - 3 - len(NODES)
        name = "woken" if node >= 0 or interrupted else NODES[node]
        seen[numbers[found.thread[place]], name, int(found.ns[place])] += 1
        lengths[place, node] += int(found.ns[place])
    for counted in (truth, seen):
        for key in [key for key in counted if key[2] == 0]:
            del counted[key]
    assert seen == truth


def chain(found: Spans, thread: int, time: int) -> tuple[str, int]:
    """What a thread waits for in the end at a moment, by going from one to the next; for people to read."""
    for _ in range(len(found.line.threads) + 1):
        mine = np.flatnonzero((found.thread == thread) & (found.begin <= time) & (time < found.end))
        (span,) = mine.tolist()
        if found.state[span] == RUNNING:
            return "ran", int(found.line.threads[thread])
        node = int(found.node[span])
        if node < 0:
            return "node", node
        thread = node
    raise AssertionError("who wakes whom goes in a circle")


@settings(max_examples=40, deadline=None)
@given(ANY)
def test_each_moment_of_a_wait_goes_to_the_end_of_its_chain(story: Story) -> None:
    found = spans_of(trace_of(story))
    waits = np.flatnonzero(found.waiting & (found.ns > 0))
    pieces = cascade(found, waits)
    assert pieces.cut == 0
    told: dict[int, Counter[tuple[str, int]]] = defaultdict(Counter)
    for place in range(len(pieces.wait)):
        ran, via = int(pieces.ran[place]), int(pieces.via[place])
        end = ("ran", int(found.line.threads[found.thread[ran]])) if ran >= 0 else ("node", int(found.node[via]))
        told[int(pieces.wait[place])][end] += int(pieces.ns[place])
    for wait in waits.tolist():
        truth = Counter(chain(found, int(found.thread[wait]), time)
                        for time in range(int(found.begin[wait]), int(found.end[wait])))  # fmt: skip
        assert +told[wait] == truth
        assert sum(told[wait].values()) == found.ns[wait], "each wait is divided, no more and no less"


@ENOUGH
@given(ANY)
def test_tables_account_for_all_waiting(story: Story) -> None:
    trace = trace_of(story)
    off: Counter[int] = Counter()
    for number, thread in story.threads.items():
        if thread.role != IDLE and number in spans_of(trace).line.threads:
            off[number] = thread.spent["off"]
    try:
        edges, roots = graph.answer(trace).table, graph.roots(trace).table
    except NothingToShow:
        assert not +off
        return
    told: Counter[int] = Counter()
    for row in edges.rows:
        told[int(row[0].split()[0])] += row[column(edges, "ns")]
    assert +told == +off
    whole = sum(off.values())
    assert sum(row[column(edges, "cascaded_ns")] for row in edges.rows) == whole
    assert sum(row[column(roots, "ns")] for row in roots.rows) == whole
    for row in roots.rows:
        once = row[column(roots, "once_ns")]
        assert 0 < once <= min(row[column(roots, "ns")], story.end - story.begin)


@ENOUGH
@given(ANY)
def test_the_path_of_an_operation_is_as_long_as_it(story: Story) -> None:
    trace = trace_of(story)
    truth: Counter[tuple[str, str]] = Counter()
    for call in story.calls:
        if call.kind != "irq" and call.outermost and call.began and call.ended:
            truth[story.threads[call.thread].role, call.name] += sum(call.spent.values())
    try:
        table = paths.answer(trace).table
    except NothingToShow:
        assert not +truth
        return
    told: Counter[tuple[str, str]] = Counter()
    for row in table.rows:
        told[row[0], row[1]] += row[column(table, "ns")]
        assert "Cut" not in " ".join(table.notes)
    assert +told == +truth


THREAD = st.integers(0, 4)
ANYTHING = st.lists(
    st.tuples(st.integers(0, 3), THREAD, st.sampled_from([one for one in EVENT_KINDS if not one.startswith("phase")]),
              st.sampled_from(["", "read", "timer"]), st.sampled_from(HOWS), THREAD),
    max_size=60,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@example([(0, 0, "op-enter", "", "", 0), (0, 0, "wake", "", "", 1)])
@given(ANYTHING)
def test_events_that_make_no_sense_are_accounted_for_as_well(drawn: list[tuple[int, int, str, str, str, int]]) -> None:
    events: list[Any] = [(1000, 0, 0, "phase-begin", "", "", PHASE)]
    for later, thread, kind, name, how, value in drawn:
        events.append((events[-1][0] + later, 0, thread, kind, name, how, value))
    events.append((events[-1][0] + 5, 0, 0, "phase-end", "", "", PHASE))
    threads = {number: Thread(number, ("main", "app", "app", "kernel", "idle")[number]) for number in range(5)}
    trace = trace_of(Story(events, 1000, events[-1][0], threads, [], [], [], 1, 0))
    found = spans_of(trace)
    assert (np.bincount(found.thread, weights=found.ns) == events[-1][0] - 1000).all()
    waits = np.flatnonzero(found.waiting)
    pieces = cascade(found, waits)
    assert (np.bincount(pieces.wait, weights=pieces.ns, minlength=len(found))[waits] == found.ns[waits]).all()
    for answer in (graph.answer, graph.roots, paths.answer):
        with contextlib.suppress(NothingToShow):
            answer(trace)


# -- graphs that are written down


def story_of(place: Path, events: Any, threads: Any, **changes: Any) -> Trace:
    return Trace("linux", read(record(place, events, threads=threads, **changes)), (0,))


# Figure 4 of the paper: a user waits for a parser all the time, and that for the network from 20 on.  Times are in ns.
FIGURE_4 = (
    (0, 0, "phase-begin", "", "", 0), (0, 0, "op-enter", "read"), (0, 0, "switch", "", "blocked", 1),
    (20, 1, "switch", "", "blocked", 2), (100, 2, "wake", "", "woken", 1), (100, 2, "switch", "", "preempted", 1),
    (100, 1, "wake", "", "woken", 0), (100, 1, "switch", "", "blocked", 0), (110, 0, "op-exit", "read"),
    (110, 0, "phase-end", "", "", 0),
)  # fmt: skip
WHO = ((0, "main", "user"), (1, "app", "parser"), (2, "app", "network"), (3, "app", "second user"))


def edges_of(trace: Trace) -> dict[tuple[str, str], tuple[int, int]]:
    table = graph.answer(trace).table
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for row in table.rows:  # an edge has a row for each operation
        ns, cascaded = found.get((row[0], row[2]), (0, 0))
        found[row[0], row[2]] = (ns + row[column(table, "ns")], cascaded + row[column(table, "cascaded_ns")])
    return found


def test_the_papers_example(tmp_path: Path) -> None:
    trace = story_of(tmp_path, FIGURE_4, WHO[:3])
    edges = edges_of(trace)
    assert edges["0 main", "1 app"] == (100, 20)
    assert edges["1 app", "2 app"] == (80, 80 + 80)
    roots = {row[0]: (row[2], row[4]) for row in graph.roots(trace).table.rows}
    # Both waited for the network in the same 80 ns.
    assert roots["2 app"] == (160, 80)
    assert roots["1 app"] == (20, 20)
    # The path stays with the network, whatever that did before the parser waited for it.
    assert [row[:6] for row in paths.answer(trace).table.rows] == [
        ("main", "read", "app", "user", 1, 80), ("main", "read", "not seen", "", 1, 20),
        ("main", "read", "itself", "read", 1, 10),
    ]  # fmt: skip


def test_of_several_that_wait_each_counts_and_the_time_counts_once(tmp_path: Path) -> None:
    """Fan-out: demanding that the sums stay within the time that passed would make each of the waits shorter."""
    events = (
        (0, 0, "phase-begin", "", "", 0), (0, 0, "switch", "", "blocked", 3), (0, 3, "switch", "", "blocked", 1),
        (20, 1, "switch", "", "blocked", 2), (100, 2, "wake", "", "woken", 1), (100, 2, "switch", "", "blocked", 1),
        (100, 1, "wake", "", "woken", 0), (100, 1, "wake", "", "woken", 3), (100, 1, "switch", "", "blocked", 0),
        (100, 0, "switch", "", "yielded", 3), (100, 3, "switch", "", "blocked", 0), (100, 0, "phase-end", "", "", 0),
    )  # fmt: skip
    trace = story_of(tmp_path, events, WHO)
    assert edges_of(trace) == {("0 main", "1 app"): (100, 20), ("3 app", "1 app"): (100, 20),
                               ("1 app", "2 app"): (80, 240), ("2 app", "not seen"): (20, 20)}  # fmt: skip
    roots = {row[0]: (row[2], row[4]) for row in graph.roots(trace).table.rows}
    assert roots == {"2 app": (240, 80), "1 app": (40, 20), "not seen": (20, 20)}


# Three go round: each waits until the one before it wakes it; a fourth waits for one of them.
RING = (
    (0, 0, "phase-begin", "", "", 0), (0, 0, "switch", "", "blocked", 1),
    *(event for turn in range(6) for event in (
        (100 * turn + 90, turn % 3 + 1, "wake", "", "woken", (turn + 1) % 3 + 1),
        (100 * turn + 100, turn % 3 + 1, "switch", "", "blocked", (turn + 1) % 3 + 1),
    )),
    (650, 1, "wake", "", "woken", 0), (660, 1, "switch", "", "blocked", 0), (700, 0, "phase-end", "", "", 0),
)  # fmt: skip


def test_a_ring_is_a_knot(tmp_path: Path) -> None:
    threads = ((0, "main", ""), (1, "app", ""), (2, "app", ""), (3, "app", ""))
    table = graph.answer(story_of(tmp_path, RING, threads)).table
    knot = {(row[0], row[2]): row[column(table, "knot")] for row in table.rows}
    assert {edge for edge, number in knot.items() if number == 1} == {
        ("1 app", "3 app"), ("2 app", "1 app"), ("3 app", "2 app")}  # fmt: skip
    assert knot["0 main", "1 app"] is None
    (said,) = (note for note in table.notes if note.startswith("Knot"))
    assert said.startswith("Knot 1: 1 app, 2 app and 3 app wait for one another, ")


def test_a_short_wait_opens_no_knot(tmp_path: Path) -> None:
    threads = ((0, "main", ""), (1, "app", ""), (2, "app", ""), (3, "app", ""))
    for length, closed in ((5, True), (40, False)):  # of a window of 700
        woken = 605 + length
        events = (*RING[:-3], (605, 1, "switch", "", "blocked", 0), (woken, 0, "irq-enter", "t"),
                  (woken, 0, "wake", "t", "woken", 1), (woken, 0, "irq-exit", "t", "timer"),
                  (woken, 0, "switch", "", "blocked", 1), *RING[-3:])  # fmt: skip
        notes = graph.answer(story_of(tmp_path / str(length), events, threads)).table.notes
        assert any(note.startswith("Knot 1: 1 app, 2 app and 3 app") for note in notes) is closed


def test_a_wait_has_one_operation(tmp_path: Path) -> None:
    """A kernel thread that is woken on behalf of a call still waits in what it did before, as in ``weaklink waits``."""
    events = (
        (0, 1, "phase-begin", "", "", 0), (10, 1, "switch", "", "blocked", 0), (20, 0, "op-enter", "write"),
        (30, 0, "wake", "write", "woken", 1), (50, 0, "op-exit", "write"), (60, 0, "switch", "", "blocked", 1),
        (90, 1, "phase-end", "", "", 0),
    )  # fmt: skip
    table = graph.answer(story_of(tmp_path, events, ((0, "main", ""), (1, "kernel", "")))).table
    waits = {row[2]: (row[1], row[column(table, "ns")]) for row in table.rows if row[0] == "1 kernel"}
    assert waits == {"0 main": ("background", 20), "a free CPU": ("background", 30)}


def test_no_knot_is_said_and_has_no_column(tmp_path: Path) -> None:
    table = graph.answer(story_of(tmp_path, FIGURE_4, WHO[:3])).table
    assert any(note.startswith("No knot: ") for note in table.notes)
    assert "knot" not in [one.name for one in table.columns]


def test_what_is_not_followed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = story_of(tmp_path, FIGURE_4, WHO[:3])
    monkeypatch.setattr(cascades, "HOPS", 0)
    pieces = cascade(spans_of(trace), np.flatnonzero(spans_of(trace).waiting & (spans_of(trace).ns > 0)))
    assert pieces.cut == 180
    assert int(pieces.ns.sum()) == int(spans_of(trace).ns[spans_of(trace).waiting].sum()), "nothing is lost by it"
    monkeypatch.undo()
    monkeypatch.setattr(cascades, "MOST", 0)
    assert any(note.startswith("Cut: 180 ns stay") for note in graph.answer(trace).table.notes)
    monkeypatch.setattr(paths, "STEPS", 2)
    table = paths.answer(trace).table
    assert any(note.startswith("Cut: 100 ns") for note in table.notes)
    assert ("main", "read", "not followed", "", 1, 100) in [row[:6] for row in table.rows]


@ENOUGH
@given(st.dictionaries(st.integers(0, 7), st.lists(st.integers(0, 7), max_size=4, unique=True), max_size=8))
def test_knots_are_what_reaches_itself_only(edges: dict[int, list[int]]) -> None:
    reach = {node: set(edges.get(node, ())) for node in range(8)}
    for _ in range(8):
        reach = {node: others.union(*(reach[other] for other in others)) for node, others in reach.items()}
    truth = {frozenset(others) for node, others in reach.items()
             if others and all(reach[other] == others for other in others) and node in others}  # fmt: skip
    assert set(knots(edges)) == truth


@ENOUGH
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50), st.integers(0, 20)), max_size=30))
def test_time_that_is_covered_counts_once(intervals: list[tuple[int, int, int]]) -> None:
    group, begin, length = (np.array([one[place] for one in intervals], dtype=np.int64) for place in range(3))
    truth = [len({time for number, first, size in intervals if number == place for time in range(first, first + size)})
             for place in range(4)]  # fmt: skip
    assert covered(group, begin, begin + length, 4).tolist() == truth


def test_a_thread_that_is_waited_for_before_it_is_made(tmp_path: Path) -> None:
    """Its maker is waited for until then."""
    events = (
        (0, 0, "phase-begin", "", "", 0), (0, 0, "switch", "", "blocked", 1), (30, 1, "thread-new", "", "", 2),
        (35, 1, "wake", "", "woken", 2), (40, 1, "switch", "", "blocked", 2), (60, 2, "wake", "", "woken", 0),
        (70, 2, "switch", "", "blocked", 0), (80, 0, "phase-end", "", "", 0),
    )  # fmt: skip
    trace = story_of(tmp_path, events, WHO[:3])
    found = spans_of(trace)
    assert (found.state == ABSENT).sum() == 1
    roots = {(row[0], row[1]): row[2] for row in graph.roots(story_of(tmp_path / "b", events, WHO[:3])).table.rows}
    # Of main's 60 ns: 30 of the maker before the thread was there, 5 until it made it run, 5 for a CPU, 20 of its own.
    assert roots["1 app", "user"] == 30 + 5 + 5
    assert roots["2 app", "user"] == 20
    assert edges_of(trace)["0 main", "2 app"] == (60, 20 + 30), "until it was there, its maker is waited for through it"
    assert QUEUED in found.state[found.thread == 2]
    assert BLOCKED in found.state[found.thread == 2]


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(tmp_path / "a")
    record(tmp_path / "b", spec="osv:libc")
    for option, head in (("--graph", "waits for"), ("--roots", "doing"), ("--path", "on its path")):
        for guests in (["--guest", "linux"], []):
            assert main(["waits", str(tmp_path), option, *guests]) == 0
            said = capsys.readouterr().out
            assert head in said
            assert max(map(len, said.splitlines())) <= 80
        for form in ("csv", "json"):
            assert main(["waits", str(tmp_path), option, "--format", form]) == 0
            assert "waits_for" in (said := capsys.readouterr().out) or '"path"' in said or ",path," in said
    assert main(["waits", str(tmp_path), "--graph", "--path"]) == 2
    assert main(["waits", str(tmp_path), "--graph", "--thread", "idle"]) == 3


def test_an_interrupt_that_wakes_is_a_node(tmp_path: Path) -> None:
    trace = Trace("linux", read(record(tmp_path)), (0,))
    edges = edges_of(trace)
    assert edges["0 main", "timer"][0] == 1730 - 1200
    assert edges["0 main", "1 app"][0] == 1070 - 1050
    assert edges["0 main", "a free CPU"][0] == 1120 - 1070 + 1760 - 1730
