"""The security list of the design, item by item; ``docs/security.md`` says which test holds which item.

What is held elsewhere is not repeated here: the hostile recording (``test_hostile``), archives with evil members
(``test_guests``, ``test_freebsd_guest``, ``test_app_sources``), QEMU as it runs (``tests/guests/test_hostile``).
"""

from __future__ import annotations

import ast
import gzip
import json
import lzma
import os
import stat
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from images import decompress
from probes import archive, recording, tables
from probes.events import PHASES
from profiler.cli.main import main
from profiler.errors import ArtifactCorrupt, RecordingInvalid, WeaklinkError, shown
from profiler.machine import boot, console
from profiler.machine.command import Command
from tests import synthetic
from tests.fuzz.mutate import HOSTILE
from tests.unit.test_guests import bzimage, lz4_legacy
from tests.unit.test_machine import PANICS, command, script

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGES = ("profiler", "images", "probes", "analysis")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    made = synthetic.record(tmp_path / "out", "linux", synthetic.tour(), (1,))[0]
    (made / recording.SUMS).unlink()
    return made


# -- QEMU -------------------------------------------------------------------------------------------------------------


def test_the_control_socket_is_in_a_directory_of_this_users_alone(tmp_path: Path) -> None:
    seen: list[int] = []

    def started(socket: Path) -> Command:
        seen.append(stat.S_IMODE(socket.parent.stat().st_mode))
        seen.append(socket.parent.stat().st_uid)
        return command(script(tmp_path, "echo weaklink: ready; echo weaklink: error x"), qmp_socket=socket)

    before = os.umask(0)  # whatever the user's is
    try:
        boot.run(started, panics=PANICS, limits=boot.Limits(60, 60, 60))
    finally:
        os.umask(before)
    assert seen == [0o700, os.geteuid()]


def test_no_guest_has_a_network_and_no_port_of_this_machine_is_opened() -> None:
    """Should an app ever need one: restrict=on, and hostfwd on 127.0.0.1 only."""
    words = ("netdev", "hostfwd", "-nic", "0.0.0.0")
    files = [path for package in ("profiler", "images") for path in (ROOT / package).rglob("*")]
    texts = {path: path.read_text(encoding="utf-8") for path in files if path.suffix in (".py", ".toml")}
    assert not [(path.name, word) for path, text in texts.items() for word in words if word in text]


def test_the_console_is_capped_alike_wherever_it_is_kept() -> None:
    assert console.LOG_BYTES == recording.CONSOLE_BYTES == 16 << 20


# -- what is run of what others have made: nothing --------------------------------------------------------------------


def test_nothing_is_unpickled_or_executed() -> None:
    modules = {"pickle", "_pickle", "cPickle", "marshal", "shelve", "dill", "joblib", "cloudpickle", "yaml"}
    calls = {"eval", "exec", "extractall", "read_pickle", "to_pickle", "popen"}
    found = []
    for path in sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names: set[str] = set()
            if isinstance(node, ast.Import):
                names = {alias.name.partition(".")[0] for alias in node.names} & modules
            elif isinstance(node, ast.ImportFrom):
                names = {(node.module or "").partition(".")[0]} & modules
            elif isinstance(node, ast.Call):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                names = {called} & calls
                names |= {word.arg or "" for word in node.keywords if word.arg in ("shell", "allow_pickle")}
            found += [f"{path.relative_to(ROOT)}: {name}" for name in names]
    assert not found, found


# -- bounds -----------------------------------------------------------------------------------------------------------


def test_a_million_rows_in_a_few_bytes_are_refused_unread(place: Path) -> None:
    rows = 3_000_000
    zeros = pa.array(np.zeros(rows, np.int8))
    words = pa.DictionaryArray.from_arrays(zeros, ["x"])
    same = [words if pa.types.is_string(field.type) else zeros.cast(field.type) for field in PHASES]
    pq.write_table(pa.table(same, PHASES.names), place / "phases.parquet", compression="zstd")
    assert (place / "phases.parquet").stat().st_size < 200_000
    began = time.process_time()
    with pytest.raises(RecordingInvalid, match="3,000,000 rows"):
        recording.read(place).frame("phases")
    assert time.process_time() - began < 1


@pytest.mark.parametrize("whole", [5, 100])
def test_groups_of_rows_cannot_say_less_than_there_are(whole: int) -> None:
    groups = [SimpleNamespace(num_rows=30), SimpleNamespace(num_rows=40)]
    metadata = SimpleNamespace(num_rows=whole, num_row_groups=2, row_group=groups.__getitem__)
    assert tables.rows_of(metadata) == max(whole, 70)


@pytest.mark.parametrize("kind", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_an_archive_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: int
) -> None:
    monkeypatch.setattr(archive, "_BYTES", 1 << 20)
    file = tmp_path / "bomb.recordings"
    with zipfile.ZipFile(file, "w", kind) as made:
        made.writestr("recordings.json", bytes(4 << 20))
    assert file.stat().st_size < 10_000
    with pytest.raises(RecordingInvalid, match="4,194,304 bytes"):
        archive.read(file)
    lying = file.read_bytes().replace((4 << 20).to_bytes(4, "little"), (1 << 19).to_bytes(4, "little"))
    file.write_bytes(lying)
    with pytest.raises(RecordingInvalid):
        archive.read(file)


@pytest.mark.parametrize("pack", [lz4_legacy, gzip.compress, lzma.compress, zstandard.compress])
def test_a_kernel_that_unpacks_to_too_much_is_cut(
    monkeypatch: pytest.MonkeyPatch, pack: Callable[[bytes], bytes]
) -> None:
    monkeypatch.setattr(decompress, "_LARGEST_ELF", 1 << 20)
    monkeypatch.setattr(decompress, "_LZ4_CHUNK", 8 << 20)
    packed = pack(b"\x7fELF" + bytes((8 << 20) - 4))
    assert len(packed) < 100_000
    try:
        assert len(decompress.elf_of_bzimage(bzimage(packed))) <= 8 << 20
    except ArtifactCorrupt:
        return


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("app", "phases", 0, "ops"), 10**300),
        (("app", "phases", 0, "ops"), -(10**30)),
        (("qemu", "memory_mib"), 1 << 63),
        (("cost", "wall_s"), float("1e999")),
        (("cost", "cpu_s"), 10**400),
    ],
)
def test_numbers_are_of_64_bits_and_finite(place: Path, keys: tuple[str | int, ...], value: float) -> None:
    manifest = json.loads((place / "manifest.json").read_text())
    at = manifest
    for key in keys[:-1]:
        at = at[key]
    at[keys[-1]] = value
    (place / "manifest.json").write_text(json.dumps(manifest).replace("Infinity", "1e999"))
    with pytest.raises(RecordingInvalid, match=str(keys[-1])):
        recording.read(place)


@pytest.mark.parametrize("name", ["manifest.json", "ledger.parquet", recording.SUMS])
def test_a_pipe_in_the_place_of_a_file_keeps_nobody_waiting(place: Path, name: str) -> None:
    (place / name).unlink(missing_ok=True)
    os.mkfifo(place / name)
    try:
        recording.read(place).frame("ledger")
    except RecordingInvalid:
        return
    assert name == recording.SUMS


def test_a_pipe_in_the_place_of_a_campaign_keeps_nobody_waiting(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "out" / "campaign.json")
    assert main(["top", str(tmp_path / "out")]) == 0
    assert "null-call" in capsys.readouterr().out or place.exists()


# -- places -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place_of_one", ["../x", "/x", "a/../../x", "", ".", "a\0b", "\ud800", "n" * 5000])
def test_an_archive_leads_nowhere_else(place: Path, tmp_path: Path, place_of_one: str) -> None:
    file, out = tmp_path / "a.recordings", tmp_path / "unpacked"
    archive.write(file, [recording.read(place)], tmp_path / "out")
    with zipfile.ZipFile(file) as old:
        contents = {name: old.read(name) for name in old.namelist()}
    described = json.loads(contents["recordings.json"])
    described[0]["place"] = place_of_one
    contents["recordings.json"] = json.dumps(described).encode()
    contents["../../evil"] = b"evil"
    with zipfile.ZipFile(file, "w") as new:
        for name, data in contents.items():
            new.writestr(name, data)
    before = {path.name for path in tmp_path.iterdir()}
    assert main(["unpack", str(file), "--out", str(out)]) in (0, 2, 22)
    assert {path.name for path in tmp_path.iterdir()} - before <= {"unpacked"}
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))
    assert not (tmp_path.parent / "evil").exists()


@pytest.mark.parametrize("second", ["one", "one/inside"])
def test_an_archive_with_two_recordings_in_one_place_is_refused(place: Path, tmp_path: Path, second: str) -> None:
    synthetic.record(tmp_path / "out", "linux", synthetic.tour(), (2,))
    file = tmp_path / "a.recordings"
    archive.write(file, [recording.read(found) for found in recording.find(tmp_path / "out")], tmp_path / "out")
    with zipfile.ZipFile(file) as old:
        contents = {name: old.read(name) for name in old.namelist()}
    described = json.loads(contents["recordings.json"])
    described[0]["place"], described[1]["place"] = "one", second
    contents["recordings.json"] = json.dumps(described).encode()
    with zipfile.ZipFile(file, "w") as new:
        for name, data in contents.items():
            new.writestr(name, data)
    with pytest.raises(RecordingInvalid, match="two recordings in one place"):
        archive.read(file)


# -- messages ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", HOSTILE)
def test_a_message_loses_what_acts_on_a_terminal(text: str) -> None:
    error = WeaklinkError(f"before {text} after", hint=f"try {text}")
    for told in (str(error), error.hint):
        assert told.replace("\n", "").isprintable()
        told.encode()
    assert str(error).startswith("before ")
    assert str(error).endswith(" after")


def test_an_ordinary_message_stays_as_it_is() -> None:
    for text in ("one\n  | two: \u00e9, \u4e2d\u6587, \u2026", "", "a  b"):
        assert shown(text) == text
    assert shown("a\tb\u00a0c\r\n") == "a b c\n"
