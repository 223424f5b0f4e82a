"""Recordings are written whole or not at all, and read as untrusted input."""

from __future__ import annotations

import errno
import json
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from probes import recording
from probes import tables as tables_of
from profiler.errors import DiskFull, ProbeLoss, RecordingInvalid
from tests import synthetic
from tests.conftest import SmallDisk


def one(root: Path) -> Path:
    return synthetic.record(root, "linux", synthetic.tour())[0]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    place = one(tmp_path)
    read = recording.read(place)
    written = synthetic.tables(synthetic.tour(), 0)
    assert read.manifest == synthetic.manifest("linux", 0, synthetic.tour())
    for name, table in written.items():
        assert read.frame(name).astype(object).to_numpy().tolist() == [list(row.values()) for row in table.to_pylist()]
    assert read.ledger["function"].dtype == "category"
    assert read.events["kind"].dtype == "category"
    assert (place / "console.log").read_bytes() == b"weaklink: done\n"
    assert sorted(path.name for path in place.parent.iterdir()) == ["seed-0"]


def test_only_the_asked_columns_are_read(tmp_path: Path) -> None:
    assert list(recording.read(one(tmp_path)).frame("events", ["kind", "name"]).columns) == ["kind", "name"]


def test_a_second_writing_replaces_the_first(tmp_path: Path) -> None:
    place = one(tmp_path)
    synthetic.record(tmp_path, "linux", synthetic.tour(), created="2027-01-01")
    assert recording.read(place).manifest["created"] == "2027-01-01"
    assert sorted(path.name for path in place.parent.iterdir()) == ["seed-0"]


def test_the_console_is_cut_at_its_limit(tmp_path: Path) -> None:
    phases = synthetic.tour()
    recording.write(
        tmp_path / "r",
        synthetic.manifest("linux", 0, phases),
        synthetic.tables(phases, 0),
        b"x" * (recording.CONSOLE_BYTES + 5),
    )
    assert (tmp_path / "r" / "console.log").stat().st_size == recording.CONSOLE_BYTES


def test_find_is_sorted_and_skips_half_written_ones(tmp_path: Path) -> None:
    places = synthetic.record(tmp_path, "linux", synthetic.tour(), seeds=[2, 0, 1])
    hidden = tmp_path / "tour" / "linux" / ".seed-3.x"
    hidden.mkdir()
    (hidden / "manifest.json").write_text("{}")
    assert recording.find(tmp_path) == sorted(places)
    assert recording.find(places[0]) == [places[0]]
    assert recording.find(tmp_path / "nowhere") == []


@pytest.mark.parametrize("name", ["manifest.json", "ledger.parquet", "phases.parquet", "events.parquet"])
def test_half_a_recording_is_refused_by_name(tmp_path: Path, name: str) -> None:
    place = one(tmp_path)
    (place / name).unlink()
    with pytest.raises(RecordingInvalid, match=name) as failure:
        recording.read(place)
    assert failure.value.hint


def change(place: Path, **keys: object) -> None:
    value = json.loads((place / "manifest.json").read_text())
    value.update(keys)
    (place / "manifest.json").write_text(json.dumps(value))


@pytest.mark.parametrize("schema", [0, 1, "2", None])
def test_another_schema_is_refused(tmp_path: Path, schema: object) -> None:
    place = one(tmp_path)
    change(place, schema=schema)
    with pytest.raises(RecordingInvalid, match="schema"):
        recording.read(place)


@pytest.mark.parametrize(
    ("keys", "where"),
    [
        ({"seed": {"number": "0", "rtc": "", "spin": 0}}, "seed.number"),
        ({"seed": {"number": True, "rtc": "", "spin": 0}}, "seed.number"),
        ({"seed": {"rtc": "", "spin": 0}}, "seed.number"),
        ({"guest_reports": {"version": 5}}, "guest_reports.version"),
        ({"guest_reports": []}, "guest_reports"),
        ({"cost": {"wall_s": -1, "cpu_s": 1, "boot_s": 1}}, "cost.wall_s"),
        ({"app": {"name": "x", "sha256": "", "args": [1], "phases": []}}, r"app.args\[0\]"),
        ({"app": {"name": "x", "sha256": "", "args": [], "phases": [], "source_sha256": 5}}, "app.source_sha256"),
    ],
)
def test_the_field_that_is_wrong_is_named(tmp_path: Path, keys: dict[str, object], where: str) -> None:
    place = one(tmp_path)
    change(place, **keys)
    with pytest.raises(RecordingInvalid, match=where):
        recording.read(place)


@pytest.mark.parametrize("text", [b"", b"\xff", b"[" * 100_000, b'{"schema": 1', b"[1]", b'{"schema": NaN}'])
def test_a_damaged_manifest_is_refused(tmp_path: Path, text: bytes) -> None:
    place = one(tmp_path)
    (place / "manifest.json").write_bytes(text)
    with pytest.raises(RecordingInvalid):
        recording.read(place)


def test_a_huge_manifest_is_refused_unread(tmp_path: Path) -> None:
    place = one(tmp_path)
    os.truncate(place / "manifest.json", recording.MANIFEST_BYTES + 1)
    with pytest.raises(RecordingInvalid, match="larger"):
        recording.read(place)


def test_a_damaged_table_is_refused(tmp_path: Path) -> None:
    place = one(tmp_path)
    for data in (b"", b"PAR1", pickle.dumps({"a": 1}), (place / "ledger.parquet").read_bytes()[:-100]):
        (place / "ledger.parquet").write_bytes(data)
        with pytest.raises(RecordingInvalid, match="ledger"):
            _ = recording.read(place).ledger


def test_extra_missing_and_mistyped_columns_are_refused(tmp_path: Path) -> None:
    place = one(tmp_path)
    whole = synthetic.tables(synthetic.tour(), 0)["ledger"]
    wrong = {
        "more": whole.append_column("more", whole["phase"]),
        "calls": whole.drop_columns(["calls"]),
        "idle_ns": whole.set_column(10, "idle_ns", whole["idle_ns"].cast(pa.float64())),
    }
    for name, table in wrong.items():
        pq.write_table(table, place / "ledger.parquet")
        with pytest.raises(RecordingInvalid, match=name):
            _ = recording.read(place).ledger
        phases = synthetic.tour()
        with pytest.raises(RecordingInvalid, match=name):
            recording.write(
                tmp_path / "w",
                synthetic.manifest("linux", 0, phases),
                {**synthetic.tables(phases, 0), "ledger": table},
                b"",
            )
        assert not (tmp_path / "w").exists()


def test_missing_values_and_endless_names_are_refused(tmp_path: Path) -> None:
    place = one(tmp_path)
    rows = synthetic.tables(synthetic.tour(), 0)["ledger"].to_pylist()
    lax = pa.schema([column.with_nullable(True) for column in recording.TABLES["ledger"]])
    for column, value in (("calls", None), ("function", None), ("function", "x" * 5000)):
        table = pa.Table.from_pylist([*rows, {**rows[0], column: value}], schema=lax)
        pq.write_table(table, place / "ledger.parquet")
        (place / recording.SUMS).unlink(missing_ok=True)  # they say that it is whole
        with pytest.raises(RecordingInvalid, match=r"without a value|5,000 bytes"):
            _ = recording.read(place).ledger


def test_a_single_changed_bit_is_noticed_wherever_it_is(tmp_path: Path) -> None:
    place = one(tmp_path)
    assert recording.damaged(place) == []
    for name in ("manifest.json", *(f"{table}.parquet" for table in recording.TABLES)):
        whole = (place / name).read_bytes()
        for at in (9, len(whole) // 2, len(whole) - 9):
            (place / name).write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            assert recording.damaged(place) == [name]
            with pytest.raises(RecordingInvalid):
                recording.read(place).table(name.removesuffix(".parquet") if name != "manifest.json" else "ledger")
        (place / name).write_bytes(whole)
    (place / recording.SUMS).unlink()
    assert recording.damaged(place) == [], "nobody wrote down what it was"
    assert len(recording.read(place).ledger) > 0


def test_too_many_rows_are_refused_before_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = one(tmp_path)
    monkeypatch.setattr(tables_of, "ROWS", {"ledger": 3, "phases": 200, "events": 200})
    with pytest.raises(RecordingInvalid, match="more than 3"):
        _ = recording.read(place).ledger


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(handle: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        one(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file() or path.name.startswith(".")] == []


def test_a_failed_replacement_keeps_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = one(tmp_path)
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if target == place and self.name != "old":
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(DiskFull):
        synthetic.record(tmp_path, "linux", synthetic.tour(), created="2027-01-01")
    assert recording.read(place).manifest["created"].startswith("2026")
    assert sorted(path.name for path in place.parent.iterdir()) == ["seed-0"]


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path, small_disk: SmallDisk) -> None:
    disk, phases = small_disk(tmp_path / "disk", "64k"), synthetic.tour()
    with pytest.raises(DiskFull) as failure:
        recording.write(
            disk / "r", synthetic.manifest("linux", 0, phases), synthetic.tables(phases, 0), b"x" * (1 << 20)
        )
    assert failure.value.exit_code == 18
    assert failure.value.hint
    assert list(disk.iterdir()) == []


def test_a_full_disk_in_the_middle_of_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError("[Errno 28] Error writing bytes to file. Detail: [errno 28] No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(DiskFull):
        one(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def streamed(tables: dict[str, pa.Table], *, fails: bool = False) -> dict[str, Any]:
    """The same tables, the events as a reader of ten rows at a time, which may fail on the way."""

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in tables["events"].cast(recording.TABLES["events"]).to_batches(max_chunksize=10):
            yield batch
            if fails:
                raise ProbeLoss("as it happens")

    return tables | {"events": pa.RecordBatchReader.from_batches(recording.TABLES["events"], batches())}


def test_events_may_be_streamed(tmp_path: Path) -> None:
    phases = synthetic.tour()
    tables, manifest = synthetic.tables(phases, 0), synthetic.manifest("linux", 0, phases)
    tables.pop("calls", None)
    recording.write(tmp_path / "whole", manifest, tables, b"")
    recording.write(tmp_path / "streamed", manifest, streamed(tables), b"")
    whole, other = recording.read(tmp_path / "whole"), recording.read(tmp_path / "streamed")
    for name in recording.TABLES:
        assert whole.table(name).to_pylist() == other.table(name).to_pylist()
    assert len(whole.events) > 10
    assert other.counted().to_numpy().tolist() == other.calls.to_numpy().tolist()
    assert len(other.calls)


def test_a_stream_that_fails_leaves_nothing(tmp_path: Path) -> None:
    phases = synthetic.tour()
    tables = streamed(synthetic.tables(phases, 0), fails=True)
    with pytest.raises(ProbeLoss, match="as it happens"):
        recording.write(tmp_path / "r", synthetic.manifest("linux", 0, phases), tables, b"")
    assert list(tmp_path.iterdir()) == []


def test_too_many_events_are_refused_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    phases = synthetic.tour()
    tables = synthetic.tables(phases, 0)
    monkeypatch.setattr(tables_of, "ROWS", {**tables_of.ROWS, "events": 15})
    with pytest.raises(RecordingInvalid, match="more than 15"):
        recording.write(tmp_path / "r", synthetic.manifest("linux", 0, phases), streamed(tables), b"")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_in_the_middle_of_the_events(tmp_path: Path, small_disk: SmallDisk) -> None:
    """2 MB, and events that do not pack."""
    disk = small_disk(tmp_path / "disk", "2m")
    phases = synthetic.tour()
    tables = synthetic.tables(phases, 0)
    schema = recording.TABLES["events"]
    first = tables["events"].cast(schema).slice(1, 1).combine_chunks().to_batches()[0]
    rows = first.take(pa.array(np.zeros(1 << 16, dtype=np.int64)))
    taken = []

    def batches() -> Iterator[pa.RecordBatch]:
        random = np.random.default_rng(1)
        for _ in range(20):
            columns = rows.columns
            columns[schema.get_field_index("value")] = pa.array(random.integers(-(1 << 62), 1 << 62, len(rows)))
            taken.append(len(rows))
            yield pa.RecordBatch.from_arrays(columns, schema=schema)

    stream = tables | {"events": pa.RecordBatchReader.from_batches(schema, batches())}
    with pytest.raises(DiskFull) as failure:
        recording.write(disk / "r", synthetic.manifest("linux", 0, phases), stream, b"")
    assert failure.value.exit_code == 18
    assert 2 < len(taken) < 20
    assert list(disk.iterdir()) == []
