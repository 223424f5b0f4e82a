"""Whatever happens on a machine, its trace adds up: held against an account that was kept tick by tick."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.trace import locks, syscalls, waits
from analysis.trace.operations import operations, outermost
from analysis.trace.stops import REASONS, stops
from analysis.trace.timeline import NEEDED, Timeline, timeline
from analysis.trace.trace import Trace
from analysis.trace.window import windows
from probes.events import EVENT_KINDS
from profiler.errors import NothingToShow
from tests.events_strategy import PHASE, Played, Story, stories

ENOUGH = settings(max_examples=100, deadline=None)
STATES = ("on", "irq", "idle", "off")


def line_of(story: Story, piece: int = 7) -> Timeline:
    (window,) = windows(Played(story, piece), [PHASE], EVENT_KINDS, columns=("how", "name", "value", "stack"))  # type: ignore[arg-type]
    return timeline(window)


def trace_of(story: Story, **changes: Any) -> Trace:
    return Trace("machine", Played(story), (PHASE,), **changes)  # type: ignore[arg-type]


@ENOUGH
@given(st.one_of(stories(), stories(vcpus=2)))
def test_the_time_of_all_threads_and_idle_is_the_window_exactly(story: Story) -> None:
    line = line_of(story)
    on, irq, idle, off = (line.total(getattr(line, state)) for state in STATES)
    assert int((on + irq + idle).sum()) == story.vcpus * (story.end - story.begin)
    assert int(idle.sum()) == story.idle
    for place, number in enumerate(line.threads.tolist()):
        truth = story.threads[number].spent
        assert (on[place], irq[place], idle[place], off[place]) == tuple(truth[state] for state in STATES), number
    unseen = [one for one in story.threads.values() if one.number not in line.threads]
    assert not any(one.spent["on"] + one.spent["irq"] + one.spent["idle"] for one in unseen)


@ENOUGH
@given(st.one_of(stories(), stories(vcpus=2)))
def test_every_call_is_found_once_with_what_it_cost(story: Story) -> None:
    line = line_of(story)
    for kind in ("op", "syscall"):
        calls = outermost(line, f"{kind}-enter", f"{kind}-exit")
        found = []
        for begin, end in zip(calls.begin.tolist(), calls.end.tolist(), strict=True):
            seen = begin if begin >= 0 else end
            spent = None
            if begin >= 0 and end >= 0:
                assert line.thread[begin] == line.thread[end]
                spent = tuple(int(getattr(line, state)[end] - getattr(line, state)[begin]) for state in STATES)
                assert sum(spent) == line.time[end] - line.time[begin], "on + off is the lifetime"
            name = line.window.names[line.window.name[line.row[seen]]]
            found.append((int(line.threads[line.thread[seen]]), name, begin >= 0, end >= 0, spent))
        truth = [
            (call.thread, call.name, call.began, call.ended,
             tuple(call.spent[state] for state in STATES) if call.began and call.ended else None)
            for call in story.calls if call.kind == kind and call.outermost_of_kind
        ]  # fmt: skip
        assert Counter(found) == Counter(truth)


@ENOUGH
@given(stories())
def test_what_is_asked_for_is_the_outermost(story: Story) -> None:
    line = line_of(story)
    calls = operations(line)
    # Entries of one thread never overlap: each call ends before the next begins.
    begin = np.where(calls.begin >= 0, calls.begin, line.firsts[line.thread[calls.seen]])
    end = np.where(calls.end >= 0, calls.end, line.firsts[line.thread[calls.seen] + 1] - 1)
    assert (end >= begin).all()
    assert (begin[1:] > end[:-1]).all()
    kinds = Counter(EVENT_KINDS[line.kind[entry]].partition("-")[0] for entry in calls.begin.tolist() if entry >= 0)
    assert kinds == Counter(call.kind for call in story.calls if call.began and call.kind != "irq" and call.outermost)


@ENOUGH
@given(st.one_of(stories(), stories(vcpus=2)))
def test_every_stop_is_found_with_who_ended_it(story: Story) -> None:
    line = line_of(story)
    found = stops(line)
    rows = []
    for place in range(len(found)):
        woken, into = int(found.woken[place]), int(found.into[place])
        rows.append((
            int(line.threads[found.thread[place]]), REASONS[found.reason[place]], int(line.time[found.out[place]]),
            int(line.time[woken]) if woken >= 0 else None,
            int(line.window.thread[line.row[woken]]) if woken >= 0 else None,
            int(line.time[into]) if into >= 0 else None,
        ))  # fmt: skip
    known = set(line.threads.tolist())
    truth = []
    for one in story.stops:
        if one.thread in known:
            woken = (None, None) if one.woken == -1 else (one.woken, one.waker)
            truth.append((one.thread, one.reason, one.out, *woken, one.into))
    assert Counter(rows) == Counter(truth)
    assert (found.off >= found.queued).all()
    assert (found.queued >= 0).all()
    per_thread = np.bincount(found.thread, weights=found.off, minlength=len(line.threads)).astype(int)
    assert per_thread.tolist() == line.total(line.off).tolist()


@ENOUGH
@given(stories())
def test_every_wait_for_a_lock_is_found(story: Story) -> None:
    line = line_of(story)
    found = locks.waits(line)
    rows = [
        (int(line.threads[line.thread[seen]]), int(line.window.value[line.row[seen]]),
         int(line.time[begin]) if begin >= 0 else None, int(line.time[end]) if end >= 0 else None)
        for seen, begin, end in zip(found.seen.tolist(), found.begin.tolist(), found.end.tolist(), strict=True)
    ]  # fmt: skip
    assert Counter(rows) == Counter((one.thread, one.lock, one.begin, one.end) for one in story.waits)


@ENOUGH
@given(stories(), st.integers(1, 40))
def test_how_a_recording_is_cut_into_pieces_makes_no_difference(story: Story, piece: int) -> None:
    one, other = line_of(story), line_of(story, piece)
    for name in ("row", "kind", "time", "state", "on", "off", "idle", "irq"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name


@ENOUGH
@given(stories(), st.integers(0, 300), st.integers(1, 300))
def test_a_span_of_a_window_adds_up_too(story: Story, since: int, length: int) -> None:
    (window,) = windows(Played(story), [PHASE], NEEDED, since=since, until=since + length)  # type: ignore[arg-type]
    assert ((window.begin <= window.time) & (window.time < window.opened + since + length)).all()
    line = timeline(window)
    whole = max(0, min(story.end, story.begin + since + length) - (story.begin + since))
    assert window.end - window.begin == whole
    assert int(sum(line.total(getattr(line, state)).sum() for state in ("on", "irq", "idle"))) == whole


@ENOUGH
@given(stories())
def test_the_tables_say_what_happened(story: Story) -> None:
    asked = [call for call in story.calls if call.kind in ("op", "syscall") and call.outermost]
    try:
        table = syscalls.answer(trace_of(story)).table
    except NothingToShow:
        assert not asked
        return
    column = {
        name: [column.name for column in table.columns].index(name) for name in ("count", "failed", "cost", "off_ns")
    }
    for row in table.rows:
        mine = [call for call in asked if call.name == row[0]]
        whole = [call for call in mine if call.began and call.ended]
        assert row[column["count"]] == sum(call.began for call in mine)
        assert row[column["off_ns"]] == sum(call.spent["off"] for call in whole)
        assert row[column["cost"]] == sum(call.spent["on"] for call in whole)
        assert row[column["failed"]] == (sum(call.failed for call in whole) if whole else None)
    assert sum(row[column["count"]] for row in table.rows) == sum(call.began for call in asked)


@ENOUGH
@given(stories())
def test_idle_time_is_charged_whole(story: Story) -> None:
    trace = trace_of(story)
    assert waits.idle_ns(trace) == story.idle
    try:
        table = waits.answer(trace).table
    except NothingToShow:
        assert story.idle == 0
        return
    place = [column.name for column in table.columns].index("ns")
    assert sum(row[place] for row in table.rows if row[0] == "idle") == story.idle
