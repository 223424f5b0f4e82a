"""Recordings in one file are the recordings they were."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.compare import compare
from analysis.verify import verify
from analysis.views import terminal
from probes import archive, recording
from profiler.cli.main import main
from profiler.errors import RecordingInvalid
from tests import synthetic


@pytest.fixture
def places(tmp_path: Path) -> Path:
    root = tmp_path / "out"
    synthetic.record(root, "linux", synthetic.tour(), seeds=(1, 2))
    synthetic.record(root, "linux+audit=1", synthetic.audit(synthetic.tour()), seeds=(1, 2))
    return root


def plain(frame: pd.DataFrame) -> list[tuple[object, ...]]:
    return list(frame.astype(object).itertuples(index=False, name=None))


def load(root: Path) -> list[recording.Recording]:
    return [recording.read(place) for place in recording.find(root)]


def test_what_was_packed_comes_back(places: Path, tmp_path: Path) -> None:
    before = load(places)
    archive.write(tmp_path / "a.recordings", before, places)
    after = archive.read(tmp_path / "a.recordings")
    assert [one.directory.relative_to(tmp_path / "a.recordings") for one in after] == [
        one.directory.relative_to(places) for one in before
    ]
    for one, other in zip(before, after, strict=True):
        assert other.manifest == one.manifest
        assert isinstance(other, archive.Packed)
        assert other.console == b"weaklink: done\n"
        assert sorted(plain(one.ledger)) == sorted(plain(other.ledger))
        assert sorted(plain(one.calls)) == sorted(plain(other.calls))
        assert plain(one.phases) == plain(other.phases)
        assert plain(one.events) == plain(other.events)
        assert [check for check in verify(other) if not check.ok] == []
    assert terminal.render(compare(before, "linux")) == terminal.render(compare(after, "linux"))


def test_unpacked_they_are_whole(places: Path, packed: Path, tmp_path: Path) -> None:
    assert main(["unpack", str(packed), "--out", str(tmp_path / "back")]) == 0
    for one, other in zip(load(places), load(tmp_path / "back"), strict=True):
        assert other.directory.relative_to(tmp_path / "back") == one.directory.relative_to(places)
        assert sorted(plain(one.ledger)) == sorted(plain(other.ledger))
        assert (other.directory / "console.log").read_bytes() == b"weaklink: done\n"
    assert main(["unpack", str(packed), "--out", str(tmp_path / "back")]) == 2


def test_packing_again_gives_the_same_file(places: Path, tmp_path: Path) -> None:
    archive.write(tmp_path / "a.recordings", load(places), places)
    archive.write(tmp_path / "b.recordings", archive.read(tmp_path / "a.recordings"), tmp_path / "a.recordings")
    assert (tmp_path / "a.recordings").read_bytes() == (tmp_path / "b.recordings").read_bytes()


def test_events_of_one_phase_of_one_seed_are_enough(places: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.recordings"
    assert main(["pack", str(places), "--out", str(out), "--events", "files"]) == 0
    kept = archive.read(out)
    assert [one.events_kept for one in kept] == [frozenset(numbers) for numbers in ([1], [], [1], [])]
    whole = load(places)[0].events
    begin = whole.index[(whole["kind"] == "phase-begin") & (whole["value"] == 1)][0]
    end = whole.index[(whole["kind"] == "phase-end") & (whole["value"] == 1)][0]
    assert plain(kept[0].events) == plain(whole.loc[begin:end])
    assert kept[1].events.empty
    assert main(["verify", str(out)]) == 0
    assert main(["explain", str(out), "--against", "linux"]) == 0

    assert main(["pack", str(places), "--out", str(out), "--events", "null-call, fresh-pages"]) == 0
    first = archive.read(out)[0]
    assert first.events_kept == frozenset({0, 2})
    assert first.events.loc[first.events["kind"] == "phase-begin", "value"].tolist() == [0, 2]


def test_a_phase_that_is_not_there_is_refused(places: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pack", str(places), "--out", str(tmp_path / "a.recordings"), "--events", "nosuch"]) == 2
    assert "null-call, files, fresh-pages" in capsys.readouterr().err
    assert not (tmp_path / "a.recordings").exists()


@pytest.mark.parametrize("out", ["a.txt", "nowhere/a.recordings", "out", "/proc/a.recordings"])
def test_a_place_that_is_none_is_refused(places: Path, tmp_path: Path, out: str) -> None:
    assert main(["pack", str(places), "--out", str(tmp_path / out)]) == 2


def test_recordings_are_not_unpacked_where_nothing_can_be_written(
    packed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for place in (packed, packed / "below", Path("/proc/x")):  # a file, in a file, and where no directory can be made
        assert main(["unpack", str(packed), "--out", str(place)]) == 2
        assert f"{place} cannot be written" in capsys.readouterr().err


# -- archives that are not to be believed ------------------------------------------------------------------------------


def changed(file: Path, **members: bytes) -> Path:
    """The same archive with other members."""
    with zipfile.ZipFile(file) as archived:
        held = {name: archived.read(name) for name in archived.namelist()}
    held.update({name.replace("_", "."): data for name, data in members.items()})
    with zipfile.ZipFile(file, "w", zipfile.ZIP_LZMA) as target:
        for name, data in held.items():
            target.writestr(name, data)
    return file


@pytest.fixture
def packed(places: Path, tmp_path: Path) -> Path:
    archive.write(tmp_path / "a.recordings", load(places), places)
    return tmp_path / "a.recordings"


@pytest.mark.parametrize("data", [b"", b"PK", b"no zip file at all" * 100])
def test_a_file_that_is_none_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.recordings").write_bytes(data)
    with pytest.raises(RecordingInvalid, match="no archive"):
        archive.read(tmp_path / "a.recordings")


@pytest.mark.parametrize("at", [0.1, 0.5, 0.9])
def test_a_damaged_one_is_refused_or_right(packed: Path, at: float) -> None:
    good = [sorted(plain(one.ledger)) for one in archive.read(packed)]
    data = bytearray(packed.read_bytes())
    data[int(len(data) * at)] ^= 0x55
    packed.write_bytes(data)
    try:
        assert [sorted(plain(one.ledger)) for one in archive.read(packed)] == good
    except RecordingInvalid:
        return


@pytest.mark.parametrize("place", ["/etc/x", "../x", "a/../../x", ""])
def test_a_place_outside_is_refused(packed: Path, place: str) -> None:
    with zipfile.ZipFile(packed) as archived:
        described = json.loads(archived.read("recordings.json"))
    described[0]["place"] = place
    with pytest.raises(RecordingInvalid, match="no place"):
        archive.read(changed(packed, recordings_json=json.dumps(described).encode()))


@pytest.mark.parametrize("text", [b"", b"[", b"{}", b"[]", b"[1]", b"[" * 100_000, b"[NaN]"])
def test_a_list_that_is_none_is_refused(packed: Path, text: bytes) -> None:
    with pytest.raises(RecordingInvalid):
        archive.read(changed(packed, recordings_json=text))


def test_more_rows_than_fit_into_memory_are_refused(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = sum(len(one.ledger) for one in archive.read(packed))
    width = archive._row_bytes("ledger")
    monkeypatch.setattr(archive, "_TABLE_BYTES", rows * width)
    assert len(archive.read(packed)[0].ledger)
    monkeypatch.setattr(archive, "_TABLE_BYTES", rows * width - 1)
    with pytest.raises(RecordingInvalid, match=f"has a table ledger of {rows:,} rows"):
        archive.read(packed)[0].table("ledger")


def test_a_manifest_that_is_none_is_refused_by_its_place(packed: Path) -> None:
    changed(packed, recordings_json=json.dumps([{"place": "linux/1", "console": "", "manifest": {}}]).encode())
    with pytest.raises(RecordingInvalid, match="linux/1: this recording has schema None") as caught:
        archive.read(packed)
    assert "weaklink pack" in caught.value.hint


@pytest.mark.parametrize("owner", [4, -1])
def test_rows_of_nobody_are_refused(packed: Path, owner: int) -> None:
    with zipfile.ZipFile(packed) as archived:
        table = pq.read_table(io.BytesIO(archived.read("ledger.parquet")))
    table = table.set_column(0, table.schema.field(0), pa.array([owner] * table.num_rows, pa.int16()))
    target = io.BytesIO()
    pq.write_table(table, target)
    found = archive.read(changed(packed, ledger_parquet=target.getvalue()))
    with pytest.raises(RecordingInvalid, match="nobody"):
        _ = found[0].ledger
