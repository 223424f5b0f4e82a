"""What the fuzzers found (``python -m tests.fuzz``), each in small: a reader that was not ready for it stays mended."""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from images import added, elf, libraries
from images.guests.osv import linked
from images.model import Given
from probes import archive, objects, recording, symbols, tables
from probes.exec.disassembly import Code
from probes.maps import audit
from probes.symbols import SymbolTable
from profiler.cli.main import main
from profiler.errors import ArtifactCorrupt, RecordingInvalid, UsageError
from tests import machine_code, synthetic
from tests.unit import test_added, test_freebsd_guest

compiled = pytest.mark.skipif(shutil.which("gcc") is None, reason="no compiler on this machine")

Change = Callable[[pa.Table], pa.Table]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    more = synthetic.stacks(("outer", "middle", "inner"), (1, 2, 3))
    place = synthetic.record(tmp_path / "out", "linux", synthetic.tour(), (1,), more)[0]
    (place / recording.SUMS).unlink()  # who makes a recording up makes its digests up as well
    return place


def changed(place: Path, name: str, change: Change) -> None:
    path = place / f"{name}.parquet"
    pq.write_table(change(pq.read_table(path)), path)


def replaced(table: pa.Table, column: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.schema.get_field_index(column), column, values)


def no_utf8(table: pa.Table) -> pa.Table:
    names = [b"\xff\xfe"] * table.num_rows
    return replaced(table, "name", pa.array(names, pa.binary()).view(pa.string()))


# -- recordings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("ledger", lambda t: t.drop_columns(["operation"]), "missing: operation"),
        ("phases", no_utf8, "cannot be read"),
        ("phases", lambda t: pa.concat_tables([t, t.slice(1, 1)]), "two rows of one number"),
        ("frames", lambda t: replaced(t, "caller", pa.array([2, 0, 1], pa.int32())), "no tree of frames"),
        ("frames", lambda t: replaced(t, "frame", pa.array([0, 2, 1], pa.int32())), "no tree of frames"),
    ],
)
def test_a_table_that_is_none_is_refused_alone_and_in_an_archive(
    place: Path, tmp_path: Path, name: str, change: Change, said: str
) -> None:
    archive.write(tmp_path / "a.recordings", [recording.read(place)], tmp_path / "out")
    changed(place, name, change)
    with pytest.raises(RecordingInvalid, match=said):
        recording.read(place).frame(name)
    with pytest.raises(RecordingInvalid, match=said):
        repacked(tmp_path / "a.recordings", f"{name}.parquet", lambda data: through(data, change))[0].frame(name)


def test_a_row_of_an_entry_that_is_not_in_the_dictionary_is_refused(place: Path) -> None:
    """Arrow reads and converts what lies beyond the dictionary, where nobody has looked before."""

    def beyond(table: pa.Table) -> pa.Table:
        indices = pa.array([140] * table.num_rows, pa.int32())
        return replaced(table, "name", pa.DictionaryArray.from_arrays(indices, ["x"], safe=False))

    table = beyond(pq.read_table(place / "phases.parquet"))
    with pytest.raises(pa.ArrowException):
        tables.unified(table)
    assert tables.unified(table.drop_columns(["name"])).num_rows == table.num_rows


def through(data: bytes, change: Change) -> bytes:
    sink = io.BytesIO()
    pq.write_table(change(pq.read_table(io.BytesIO(data))), sink)
    return sink.getvalue()


def repacked(file: Path, member: str, change: Callable[[bytes], bytes]) -> list[recording.Recording]:
    with zipfile.ZipFile(file) as old:
        contents = {name: old.read(name) for name in old.namelist()}
    contents[member] = change(contents[member])
    with zipfile.ZipFile(file, "w") as new:
        for name, data in contents.items():
            new.writestr(name, data)
    return archive.read(file)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[: len(data) // 2] + data[len(data) // 2 + 4 :],
        lambda data: data[:-40] + b"\xff" * 32 + data[-8:],
        lambda data: through(data, lambda t: replaced(t, "recording", pa.array(["0"] * t.num_rows))),
        lambda data: through(data, lambda t: pa.concat_tables([t] * 100)),
    ],
    ids=["shorter", "footer", "owner", "rows"],
)
def test_a_damaged_member_of_an_archive_is_refused(
    place: Path, tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    archive.write(tmp_path / "a.recordings", [recording.read(place)], tmp_path / "out")
    with pytest.raises(RecordingInvalid):
        repacked(tmp_path / "a.recordings", "phases.parquet", change)[0].frame("phases")


@pytest.mark.parametrize("verb", [["switches"], ["switches", "--pairs"], ["syscalls"], ["waits"], ["waits", "--path"]])
def test_a_recording_without_events_has_nothing_to_show(
    place: Path, capsys: pytest.CaptureFixture[str], verb: list[str]
) -> None:
    changed(place, "events", lambda table: table.slice(0, 0))
    assert main([verb[0], str(place), *verb[1:]]) == 3
    assert "Traceback" not in capsys.readouterr().err


def test_a_name_in_a_message_has_no_effect_on_a_terminal(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changed(place, "ledger", lambda t: t.rename_columns(["\x1b]0;x\x07\u202e\u200bphase", *t.column_names[1:]]))
    assert main(["top", str(place)]) == RecordingInvalid.exit_code
    said = capsys.readouterr().err
    assert "phase" in said
    assert said.replace("\n", "").isprintable()


# -- kernels and programs ---------------------------------------------------------------------------------------------


def patched(data: bytes, *changes: tuple[int, str, int]) -> bytes:
    out = bytearray(data)
    for at, form, value in changes:
        struct.pack_into(form, out, at, value)
    return bytes(out)


def section(data: bytes, number: int) -> int:
    """Where the header of a section is."""
    return int(struct.unpack_from("<Q", data, 40)[0]) + 64 * number


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    path = tmp_path / "kernel"
    path.write_bytes(test_added.kernel(names=test_added.NAMES))
    return path


@compiled
def test_a_section_that_ends_beyond_all_addresses(tmp_path: Path) -> None:
    kernel = machine_code.kernel(tmp_path, {"vfs_read": "nop; ret"})
    data = kernel.read_bytes()
    kernel.write_bytes(patched(data, (section(data, 1) + 32, "<Q", 1 << 63)))  # sh_size of .text
    assert SymbolTable.load(kernel).find("vfs_read")


@pytest.mark.parametrize("field", [8, 32, 40])  # where it is in the file, and its size there and in memory
def test_a_segment_of_an_impossible_place_or_size(kernel: Path, field: int) -> None:
    kernel.write_bytes(patched(kernel.read_bytes(), (64 + field, "<Q", (1 << 64) - 1)))
    for read, failure in (
        (lambda: Code(kernel), ArtifactCorrupt),
        (lambda: linked.placed(kernel, None, {}), UsageError),
    ):
        try:
            read()
        except failure:
            continue


@pytest.mark.parametrize("value", [0, 1 << 62, (1 << 64) - 1])
def test_program_headers_that_are_nowhere(kernel: Path, value: int) -> None:
    kernel.write_bytes(patched(kernel.read_bytes(), (32, "<Q", value)))  # e_phoff
    for read, failure in (
        (lambda: Code(kernel), ArtifactCorrupt),
        (lambda: linked.placed(kernel, None, {}), UsageError),
        (lambda: libraries.libraries(kernel), UsageError),
    ):
        try:
            read()
        except failure:
            continue


@compiled
def test_debugging_information_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "p.c").write_text("int main(void) { return 0; }\n")
    subprocess.run(["gcc", "-g", "-o", tmp_path / "p", tmp_path / "p.c"], check=True)
    noise = tmp_path / "noise"
    noise.write_bytes(b"\xff" * 200)
    for name in ("info", "aranges", "abbrev"):
        subprocess.run(
            ["objcopy", "--update-section", f".debug_{name}={noise}", tmp_path / "p", tmp_path / "damaged"], check=True
        )
        with pytest.raises(UsageError):
            audit.of_kernel(tmp_path / "damaged", "src")


def test_a_freebsd_variable_that_lies_in_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEAKLINK_CACHE", str(tmp_path / "cache"))
    names = test_freebsd_guest.NAMES | {"tsc_freq": -(1 << 40)}
    path = tmp_path / "kernel"
    path.write_bytes(test_freebsd_guest.kernel(names=names))
    with pytest.raises(ArtifactCorrupt, match="in none of its parts"):
        added.add("mine", "freebsd", Given(path), progress=lambda line: None)


@compiled
def test_the_name_of_a_library_is_quoted(tmp_path: Path) -> None:
    (tmp_path / "x.c").write_text("int x(void) { return 0; }\n")
    (tmp_path / "p.c").write_text("int x(void);\nint main(void) { return x(); }\n")
    name = "lib\x1b[2J\rx.so"
    for command in (
        ["gcc", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", "libx.so", "x.c"],
        ["gcc", "-o", "p", "p.c", "./libx.so"],
    ):
        subprocess.run(command, cwd=tmp_path, check=True)
    with pytest.raises(UsageError) as caught:
        libraries.libraries(tmp_path / "p")
    assert r"lib\x1b[2J\rx.so" in str(caught.value)


@pytest.mark.parametrize(("field", "value"), [(32, 1 << 63), (24, 1 << 40), (24, 0xFFFF)])  # sh_size, sh_offset
def test_a_section_that_is_not_in_the_file(kernel: Path, field: int, value: int) -> None:
    """vmlinux-to-elf would make a class for each of so many symbols, until there is no memory left."""
    data = kernel.read_bytes()
    kernel.write_bytes(patched(data, (section(data, 2) + field, "<Q", value)))
    with pytest.raises(ArtifactCorrupt, match="a section is not there"):
        elf.Elf(kernel.read_bytes())


def test_a_kernel_with_symbols_of_no_use(kernel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEAKLINK_CACHE", str(tmp_path / "cache"))
    data = kernel.read_bytes()
    table = bytes(24 * 60_000)
    at = section(data, 2)
    kernel.write_bytes(patched(data, (at + 24, "<Q", len(data)), (at + 32, "<Q", len(table))) + table)
    with pytest.raises(ArtifactCorrupt, match="60000 of no use"):
        added.add("mine", "linux", Given(kernel), progress=lambda line: None)


def test_a_list_of_symbols_that_is_longer_than_any(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "System.map"
    path.write_text("0000000000001000 T a\n" * 20)
    assert SymbolTable.load(path).find("a")
    for limit, value in (("_MOST_SYMBOLS", 10), ("_LARGEST_LISTING", 100)):
        with monkeypatch.context() as patch:
            patch.setattr(symbols, limit, value)
            for load in (SymbolTable.load, objects.load):
                with pytest.raises(ArtifactCorrupt, match="too long"):
                    load(path)
