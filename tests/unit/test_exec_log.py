"""The event log by pieces is the log whole: in order, with the same names, counts and stacks, in little memory."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis.verify import verify
from probes import calls, recording
from probes.events import EVENT_KINDS, EVENTS
from probes.exec import frames, log
from profiler.errors import ProbeLoss, RecordingInvalid
from tests import raw_log, synthetic

FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
NAMES = {0: "", 1: "read", 2: "interrupt", 0x8001: "deferred:read"}
event = st.tuples(
    st.integers(0, 6), st.integers(0, 3), st.sampled_from([*NAMES]), st.integers(0, len(EVENT_KINDS) - 1),
    st.sampled_from([frames.NO_STACK, 0, 5]), st.integers(-1, 3),
)  # fmt: skip
one_log = st.lists(event, min_size=8, max_size=25) | st.just([])
vcpus = st.integers(1, 3).flatmap(lambda n: st.lists(one_log, min_size=n, max_size=n))


def written(out: Path, logs: Sequence[Sequence[tuple[int, ...]]], *, ordered: bool = True) -> np.ndarray[Any, Any]:
    """Writes a log for each vCPU; all of their events in the order that they have to be given in."""
    every = []
    for vcpu, events in enumerate(logs):
        raw = np.zeros(len(events), dtype=raw_log.EVENT)
        for place, field in enumerate(("time", "thread", "name", "kind", "stack", "value")):
            raw[field] = [one[place] for one in events]
        raw["vcpu"] = vcpu
        if ordered:
            raw["time"] = np.cumsum(raw["time"] // 3)  # many at the same time
        raw_log.write(out / (f"events.bin.{vcpu}" if vcpu else "events.bin"), raw)
        every.append(raw)
    whole = np.concatenate(every)
    return whole if len(logs) == 1 else whole[np.argsort(whole["time"], kind="stable")]


def table(of: log.Log, chunk: int) -> pa.Table:
    return pa.Table.from_batches(of.batches(NAMES, None, chunk), schema=EVENTS)


@FUZZ
@given(logs=vcpus, chunk=st.integers(1, 40), ordered=st.booleans())
def test_pieces_are_the_whole(tmp_path: Path, logs: list[list[tuple[int, ...]]], chunk: int, ordered: bool) -> None:
    whole = written(tmp_path, logs, ordered=ordered)
    found = log.Log.at(tmp_path, [0] * len(logs))
    pieces = list(found.pieces(chunk))
    assert raw_log.rows(pieces).tolist() == whole.tolist()
    assert table(found, chunk).to_pylist() == table(found, 1000).to_pylist()
    one, many = log.look([raw_log.pack(whole)] if len(whole) else []), log.look(found.records(chunk))
    assert one.woken_run == many.woken_run
    for name, want in (("names", whole["name"]), ("stacks", whole["stack"][whole["stack"] != frames.NO_STACK]),
                       ("waited", whole["value"][whole["kind"] == EVENT_KINDS.index("lock-contended")])):  # fmt: skip
        assert getattr(many, name).tolist() == np.unique(want).tolist()


@pytest.mark.parametrize("ordered", [True, False])
def test_no_piece_is_larger_than_asked_where_logs_are_in_order(tmp_path: Path, ordered: bool) -> None:
    rows = [(n * 7 % 100 if not ordered else 3, 0, 0, 0, 0, n) for n in range(500)]
    written(tmp_path, [rows, rows[:50]], ordered=ordered)
    sizes = [len(piece["time"]) for piece in log.Log.at(tmp_path, [0, 0]).pieces(20)]
    assert (max(sizes) <= 20 * 2, sum(sizes)) == (ordered, 550)


phase_events = st.lists(
    st.tuples(
        st.sampled_from(["phase-begin", "phase-end", "op-enter", "op-enter", "fault-enter", "irq-enter", "wake"]),
        st.sampled_from(["read", "interrupt", "page-fault"]), st.integers(1, 2),
    ), max_size=30,
)  # fmt: skip


def counted(events: Sequence[tuple[str, str, int]]) -> tuple[dict[tuple[int, str], int], bool] | None:
    """Counts one event after the other; None if phases are not paired.  And whether the last one has no end."""
    found: Counter[tuple[int, str]] = Counter()
    within: int | None = None
    for kind, name, value in events:
        if kind == "phase-begin" and within is None:
            within = value
        elif kind == "phase-end" and within == value:
            within = None
        elif kind.startswith("phase"):
            return None
        elif within is not None and kind != "wake":
            found[within, "interrupt" if kind == "irq-enter" else name] += 1
    return dict(found), within is not None


@FUZZ
@given(events=phase_events, chunk=st.integers(1, 31), paired=st.booleans())
def test_calls_are_counted_across_pieces(events: list[tuple[str, str, int]], chunk: int, paired: bool) -> None:
    if paired:  # of random ones few are
        inside = False
        for n, (kind, name, _) in enumerate(events):
            if kind.startswith("phase"):
                events[n] = "phase-end" if inside else "phase-begin", name, 1
                inside = not inside
    kinds, names, values = ([one[n] for one in events] for n in range(3))
    made = pa.table({"kind": pa.array(kinds, pa.string()).dictionary_encode(),
                     "name": pa.array(names, pa.string()), "value": pa.array(values, pa.int64())})  # fmt: skip
    pieces = made.to_batches(max_chunksize=chunk)
    want = counted(events)
    if want is None:
        with pytest.raises(RecordingInvalid, match="not paired"):
            calls.count(pieces, cut=True)
        return
    rows = calls.count(pieces, cut=True).to_pylist()
    assert {(row["phase"], row["operation"]): row["calls"] for row in rows} == want[0]
    assert [(row["phase"], row["operation"]) for row in rows] == sorted(want[0])
    if want[1]:
        with pytest.raises(RecordingInvalid, match="not paired"):
            calls.count(pieces)
    else:
        assert calls.count(made.to_batches()).to_pylist() == rows


def test_a_long_log_takes_little_memory(tmp_path: Path) -> None:
    with (tmp_path / "events.bin").open("wb") as file:
        file.truncate(3_000_000 * log.RECORD.itemsize)  # a hole: 48 MB
    found = log.Log.at(tmp_path, [0])
    tracemalloc.start()
    try:
        log.look(found.records(1 << 16))
        rows = sum(batch.num_rows for batch in found.batches(NAMES, None, 1 << 16))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert rows == 3_000_000
    assert peak < 16 << 20


# -- a log that is cut -------------------------------------------------------------------------------------------------


def test_an_event_that_was_cut_is_one_of_those_lost(tmp_path: Path) -> None:
    whole = written(tmp_path, [[(3, 0, 1, 2, 0, n) for n in range(9)]])
    path = tmp_path / "events.bin"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ProbeLoss, match="cut short"):
        log.Log.at(tmp_path, [0])
    found = log.Log.at(tmp_path, [1])
    assert sum(len(piece["time"]) for piece in found.pieces()) == 8
    assert raw_log.rows(list(found.pieces(3))).tolist() == whole[:8].tolist()


def test_a_log_that_becomes_shorter_is_no_end_of_it(tmp_path: Path) -> None:
    written(tmp_path, [[(3, 0, 1, 2, 0, n) for n in range(9)]])
    found = log.Log.at(tmp_path, [0])
    (tmp_path / "events.bin").write_bytes(b"")
    with pytest.raises(ProbeLoss, match="cut short"):
        list(found.pieces())


def test_a_recording_whose_last_events_are_lost(tmp_path: Path) -> None:
    phases = synthetic.tour()
    tables = {name: one for name, one in synthetic.tables(phases, 0).items() if name != "calls"}
    events = tables["events"]
    tables["events"] = events.slice(0, events.num_rows - 1)
    manifest = synthetic.manifest("linux", 0, phases)
    with pytest.raises(RecordingInvalid, match="not paired"):
        recording.write(tmp_path / "r", manifest, tables, b"")
    assert list(tmp_path.iterdir()) == []
    manifest["probe"]["lost_events"] = 1
    recording.write(tmp_path / "r", manifest, tables, b"")
    found = recording.read(tmp_path / "r")
    assert len(found.events) == events.num_rows - 1
    failed = [check for check in verify(found) if not check.ok]
    assert [(check.name, check.detail) for check in failed] == [("no lost events", "1 lost")]


@pytest.mark.parametrize(("kind", "beyond"), [(log.TIME, (1 << 62) - 6), (log.THREAD, 1 << 31), (log.STACK, 1 << 32)])
def test_what_records_say_is_bounded(tmp_path: Path, kind: int, beyond: int) -> None:
    """Also of the second of two vCPUs, whose logs are looked through for their order first."""
    for value in (beyond - 1, beyond, -1, (1 << 63) - 1):
        records = np.zeros(4, dtype=log.RECORD)
        records["after"] = [0, 0, 3, 0]  # 6 in all, of both logs
        records["kind"][1], records["value"][1] = kind, value
        for path, what in (("events.bin", records[2:]), ("events.bin.1", records)):
            what.tofile(tmp_path / path)
        if value == beyond - 1:
            assert log.look(log.Log.at(tmp_path, [0, 0]).records()).names.tolist() == [0]
        else:
            with pytest.raises(ProbeLoss, match="cannot be"):
                log.look(log.Log.at(tmp_path, [0, 0]).records())


def test_more_vcpus_than_a_table_can_name(tmp_path: Path) -> None:
    with pytest.raises(ProbeLoss, match="cannot be"):
        log.Log.at(tmp_path, [0] * 129)
