"""The FreeBSD guest without a boot: its disk, its entry, its tunables, its panics, and what is taken for its parts."""

from __future__ import annotations

import io
import re
import struct
import tarfile
from collections.abc import Mapping
from pathlib import Path

import capstone
import pycdlib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from images import GuestSpec, Program, added, catalog, guests
from images.apps import freebsd
from images.elf import Elf
from images.guests.freebsd import base, builder, entry, iso, own
from images.model import Given
from profiler.cli.main import main
from profiler.errors import (
    ArtifactCorrupt,
    ArtifactUnavailable,
    DiskFull,
    GuestPanic,
    NoBoot,
    UsageError,
    WeaklinkError,
)
from profiler.machine.console import Conversation
from profiler.machine.verdict import Evidence, judge
from tests.unit import test_added

CONSOLES = Path(__file__).parent / "consoles"
BANNER = b"@(#)FreeBSD 15.1-RELEASE GENERIC\n\0"
NAMES = {"osreldate": 0x800, "tsc_freq": 0x810, "tsc_is_invariant": 0x818, "tsc_early_calib_exact": 0x820}
RUNS = 1501000


# --- the disk


def read_back(image: Path) -> tuple[dict[str, bytes], set[str], dict[str, int]]:
    """Files, directories and modes, as another implementation reads them."""
    disk = pycdlib.PyCdlib()
    disk.open(str(image))
    files, folders, modes = {}, set(), {}
    for above, inner, names in disk.walk(rr_path="/"):
        folders |= {f"{above.rstrip('/')}/{name}" for name in inner}
        for name in names:
            path = f"{above.rstrip('/')}/{name}"
            content = io.BytesIO()
            disk.get_file_from_iso_fp(content, rr_path=path)
            files[path] = content.getvalue()
            modes[path] = disk.get_record(rr_path=path).rock_ridge.get_file_mode()
    disk.close()
    return files, folders, modes


names = st.text("abcXYZ019.-+_ ", min_size=1, max_size=30).filter(lambda name: name not in (".", ".."))
trees = st.dictionaries(st.lists(names, min_size=1, max_size=3).map(tuple), st.binary(max_size=5000), max_size=60)


@given(trees)
def test_what_is_written_reads_back(
    tmp_path_factory: pytest.TempPathFactory, tree: Mapping[tuple[str, ...], bytes]
) -> None:
    place = tmp_path_factory.mktemp("iso")
    wanted: dict[str, bytes] = {}
    for parts, content in tree.items():  # no file may be another one's folder
        path = "/" + "/".join(parts)
        if not any(other.startswith(f"{path}/") or path.startswith(f"{other}/") for other in wanted):
            wanted[path] = content
    sources = {}
    for number, (path, content) in enumerate(wanted.items()):
        sources[path] = place / str(number)
        sources[path].write_bytes(content)
    iso.write(place / "disk", sources, ("/empty~",))
    files, folders, modes = read_back(place / "disk")
    assert files == wanted
    assert "/empty~" in folders
    assert set(modes.values()) <= {0o100555}
    iso.write(place / "again", dict(reversed(sources.items())), ("/empty~",))
    assert (place / "again").read_bytes() == (place / "disk").read_bytes()


def test_a_directory_may_have_more_than_a_block(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    wanted = {f"/many/{'n' * 100}{number}": tmp_path / "x" for number in range(300)}
    iso.write(tmp_path / "disk", wanted)
    files, _, _ = read_back(tmp_path / "disk")
    assert set(files) == set(wanted)


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    with pytest.raises(DiskFull):
        iso.write(Path("/dev/full"), {"/file": tmp_path / "x"})


@pytest.mark.parametrize("path", ["", "/", "/a/../b", "/a//b", "/" + "n" * 151, "/a\0", "/file/below"])
def test_what_cannot_be_on_the_disk(tmp_path: Path, path: str) -> None:
    (tmp_path / "x").write_bytes(b"x")
    with pytest.raises(UsageError):
        iso.write(tmp_path / "disk", {"/file": tmp_path / "x", path: tmp_path / "x"})


# --- the kernel and its entry


def kernel(*, banner: bytes = BANNER, names: Mapping[str, int] | None = NAMES, pvh: bool = True, runs: int = RUNS,
           note: bytes = b"FreeBSD\0", build_id: bytes = b"\x07" * 20) -> bytes:  # fmt: skip
    """A FreeBSD kernel in small: its notes, its version, the variables that are wanted."""
    whole = bytearray(test_added.kernel(banner=banner, names=names))
    notes = test_added.note(b"GNU", 3, build_id) + test_added.note(b"Xen", 6, note)
    notes += test_added.note(b"Xen", 18, struct.pack("<I", 0x1000040)) if pvh else b""
    struct.pack_into("<Q", whole, 64 + 56 + 32, len(notes))  # the size of the notes, in their program header
    whole[0x800 : 0x800 + len(notes)] = notes
    struct.pack_into("<I", whole, 0x1000 + NAMES["osreldate"], runs)
    return bytes(whole)


def test_clock_and_disk_are_there_before_the_kernels_first_instruction() -> None:
    before = kernel()
    physical = test_added.BASE & 0xFFFFFFF
    addresses = {name: physical + NAMES[name] for name in entry.VARIABLES}
    after = entry.with_entry(before, addresses)
    file = Elf(after)
    stub = file.segments[-1]
    assert (stub.physical, stub.executable) == (entry.PLACE, True)
    assert file.note(*entry.PVH_ENTRY)[:4] == struct.pack("<I", entry.PLACE)
    code = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_32)
    program = after[stub.offset : stub.offset + stub.size]
    said = [f"{i.mnemonic} {i.op_str}".strip() for i in code.disasm(program, entry.PLACE)]
    assert said[:4] == [
        "cld", f"mov dword ptr [{addresses['tsc_freq']:#x}], 0x3b9aca00",
        f"mov dword ptr [{addresses['tsc_is_invariant']:#x}], 1",
        f"mov dword ptr [{addresses['tsc_early_calib_exact']:#x}], 1",
    ]  # fmt: skip
    on = said.index("mov eax, 0x1000040")
    assert said[on + 1] == "jmp eax"
    assert f"add edi, {len(entry.IMAGE):#x}" in said[:on], "where the digits come in the command line"
    digits = next(text for text in said if text.startswith("mov al, byte ptr [eax + "))
    table = int(digits.rpartition("+ ")[2].rstrip("]"), 16) - entry.PLACE
    assert program[table : table + 16] == b"0123456789abcdef"
    assert file.segments[:-1] == Elf(before).segments
    same = [Elf(before).bytes_at(s.offset, s.size) == file.bytes_at(s.offset, s.size) for s in Elf(before).segments]
    assert all(same), "what the kernel loads is what it was"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WEAKLINK_CACHE", str(tmp_path / "cache"))
    return tmp_path


def write_base(folder: Path, version: int = RUNS, leave_out: str = "") -> Path:
    for name in freebsd.PARTS:
        path = folder / freebsd.LIBRARIES / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name != leave_out:
            path.write_bytes(name.encode())
    header = folder / freebsd.HEADERS / "sys/param.h"
    header.parent.mkdir(parents=True)
    header.write_text(f"/* */\n#define __FreeBSD_version {version}\t/* Master */\n")
    (folder / freebsd.HEADERS / "c++").mkdir()
    (folder / freebsd.HEADERS / "c++/vector").write_text("left out")
    (folder / "etc").mkdir()
    (folder / "etc/passwd").write_text("left out")
    return folder


def add(place: Path, content: bytes, symbols: bytes | None = None, *, given_base: Path | None) -> added.Added:
    (place / "kernel").write_bytes(content)
    if symbols is not None:
        (place / "kernel.debug").write_bytes(symbols)
    files = Given(place / "kernel", place / "kernel.debug" if symbols is not None else None, given_base)
    return added.add("freebsd", "freebsd", files, progress=lambda line: None)


def test_without_a_kernel_it_is_listed_with_what_to_do(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["guests", "list"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"^freebsd +- +not here +static .*weaklink guests add freebsd --kind freebsd", said, re.MULTILINE)
    with pytest.raises(ArtifactUnavailable):
        catalog.check(GuestSpec("freebsd"))


def test_kernel_symbols_and_base_are_kept_as_they_were_given(place: Path) -> None:
    folder = write_base(place / "base")
    note = add(place, kernel(names=None), kernel(), given_base=folder)
    assert (note.version, note.symbols) == ("15.1-RELEASE GENERIC", "given")
    guest = catalog.check(GuestSpec("freebsd"))
    found = guests.builder_of(guest).ready(guest, cache=place / "cache")
    assert found is not None
    home = found.elf.parent
    assert (home / own.KERNEL).read_bytes() == kernel(names=None)
    assert found.sha256 == note.files[own.KERNEL]
    assert found.elf.read_bytes() != kernel(names=None), "what is started has the clock's entry"
    assert found.symbols.read_bytes() == kernel()
    with tarfile.open(home / base.FILE) as kept:
        members = {member.name: (member.mtime, member.uid) for member in kept}
    assert set(members) == {"usr/include/sys/param.h", *(f"usr/lib/{name}" for name in freebsd.PARTS)}
    assert set(members.values()) == {(0, 0)}


def test_an_archive_is_as_good_as_its_directory(place: Path) -> None:
    folder = write_base(place / "base")
    (folder / "usr/include/curses.h").write_text("curses")
    (folder / "usr/include/ncurses.h").symlink_to("curses.h")
    (folder / "usr/include/sys/also.h").symlink_to("../curses.h")
    (folder / "usr/include/gone.h").symlink_to("nowhere.h")
    (folder / "usr/include/out.h").symlink_to("/etc/passwd")
    (folder / "usr/include/same.h").hardlink_to(folder / "usr/include/curses.h")
    with tarfile.open(place / "base.txz", "w:xz") as archive:
        archive.add(folder, "./")
    first, second = place / "1.tar", place / "2.tar"
    assert base.adopt(folder, first) == base.adopt(place / "base.txz", second) == RUNS
    with tarfile.open(first) as one, tarfile.open(second) as other:
        found = {m.name: m.size for m in one}
        assert found == {m.name: m.size for m in other}
    names = {"curses.h", "ncurses.h", "sys/also.h", "same.h", "sys/param.h"}
    assert {name for name in found if name.endswith(".h")} == {f"usr/include/{name}" for name in names}


@pytest.mark.parametrize("name", ["usr/include/../../../../evil.h", "/usr/include/absolute.h", "a/.."])
def test_an_archive_that_leads_elsewhere_is_refused(place: Path, name: str) -> None:
    with tarfile.open(place / "base.tar", "w") as archive:
        for path in ("usr/include/sys/param.h", name):
            member = tarfile.TarInfo(path)
            member.size = 4
            archive.addfile(member, io.BytesIO(b"evil"))
    with pytest.raises(ArtifactCorrupt, match="it holds the path"):
        base.adopt(place / "base.tar", place / "out.tar")
    with tarfile.open(place / "out.tar") as kept:
        assert kept.getnames() == ["usr/include/sys/param.h"]


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE])
def test_a_device_where_a_file_is_wanted_is_refused(place: Path, kind: bytes) -> None:
    with tarfile.open(place / "base.tar", "w") as archive:
        member = tarfile.TarInfo("usr/include/sys/param.h")
        member.type = kind
        archive.addfile(member)
    with pytest.raises(ArtifactCorrupt, match="no plain file"):
        base.adopt(place / "base.tar", place / "out.tar")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (kernel(banner=b"nothing"), "a FreeBSD kernel that does not say its version"),
        (kernel(banner=b"nothing", note=b"linux\0"), "an ELF program, no kernel"),
        (kernel(banner=b"OSv v0.57\0", note=b"osv\0"), "a kernel of another system, OSv v0.57"),
        (test_added.kernel(names=test_added.NAMES), "a kernel of another system, Linux"),
        (kernel(pvh=False), "no entry point"),
        (kernel(names=None), "has no symbols: it was stripped"),
        (kernel(names={"osreldate": 0x800, "tsc_freq": 0x810}), "has no tsc_is_invariant, tsc_early_calib_exact"),
        (kernel(runs=1403000), r"the base is newer \(1501000\) than the kernel \(1403000\)"),
        (b"\xfd7zXZ\0" + bytes(9000), "is an xz archive, no FreeBSD kernel"),
    ],
    ids=["version", "program", "osv", "linux", "no entry", "stripped", "no clock", "old", "archive"],
)
def test_what_is_no_such_kernel_is_named(place: Path, content: bytes, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        add(place, content, given_base=write_base(place / "base"))
    assert caught.value.hint
    assert not list((place / "cache").rglob("*.json"))


@pytest.mark.parametrize(
    ("symbols", "words"),
    [
        (kernel(build_id=b"\x08" * 20), "its build id is 0808"),
        (kernel(names=None), "has no symbols: it was stripped"),
        (b"hello\n", "is a text file"),
    ],
    ids=["other build", "stripped", "text"],
)
def test_symbols_of_another_build_are_refused(place: Path, symbols: bytes, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        add(place, kernel(), symbols, given_base=write_base(place / "base"))


def test_what_is_no_base_is_named(place: Path) -> None:
    with pytest.raises(UsageError, match="against its base system") as caught:
        add(place, kernel(), given_base=None)
    assert "base.txz" in caught.value.hint
    with pytest.raises(UsageError, match=r"no usr/lib/libc\.a"):
        add(place, kernel(), given_base=write_base(place / "base", leave_out="libc.a"))
    (place / "text").write_text("hello\n")
    with pytest.raises(UsageError, match="text is no archive"):
        add(place, kernel(), given_base=place / "text")
    (place / "cut.txz").write_bytes(b"\xfd7zXZ\0" + bytes(100))
    with pytest.raises(WeaklinkError, match=r"cut\.txz"):
        add(place, kernel(), given_base=place / "cut.txz")


# --- how it boots


def test_the_app_lies_on_the_disk_with_its_arguments(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(place, kernel(), given_base=write_base(place / "base"))
    (place / "init").write_bytes(b"init")
    (place / "elf").write_bytes(b"app")
    monkeypatch.setattr(base, "system", lambda home, progress: place)
    program = Program(place / "elf", "", "", "", frozenset({"main"}), files={"/data/a": place / "elf"})
    spec = GuestSpec("freebsd", "", ("vm.pmap.pti=1",))
    bootable = catalog.prepare(spec, program, ["--phases", "a,b c"], work=place, progress=print)
    assert bootable.initrd is not None
    size = bootable.initrd.stat().st_size
    assert bootable.append.startswith(f"hint.md.0.physaddr=0x00000000 hint.md.0.len={size} ")
    assert bootable.append.endswith(" vm.pmap.pti=1")
    assert "," not in bootable.append, "the kernel takes it for the end of a tunable"
    assert [(user.base, user.own) for user in bootable.user] == [(0, frozenset({"main"}))]
    files, folders, _ = read_back(bootable.initrd)
    assert files == {
        "/app": b"app", "/data/a": b"app", "/weaklink.init": b"init",
        "/weaklink.argv": b"/app\0--phases\0a,b c\0", "/weaklink.options": b"vm.pmap.pti=1\0",
    }  # fmt: skip
    assert folders == {"/dev", "/tmp", "/data"}
    with pytest.raises(UsageError, match="more arguments"):
        catalog.prepare(spec, program, ["x"] * 300, work=place, progress=print)


@pytest.mark.parametrize("option", ["novalue", "a=", "a=1,b=2", "x=" + "1" * 128])
def test_what_is_no_tunable_is_refused(option: str) -> None:
    spec = GuestSpec("freebsd")
    object.__setattr__(spec, "options", (option,))
    with pytest.raises(UsageError, match="no tunable"):
        builder.command_line(guests.load("freebsd"), spec, 2048)


def test_what_does_not_fit_into_memory_is_refused() -> None:
    with pytest.raises(UsageError, match="too large"):
        builder.command_line(guests.load("freebsd"), GuestSpec("freebsd"), (128 << 20) + 1)


# --- how it ends: consoles of a real FreeBSD that tests/guests/crash_freebsd.c brought down


@pytest.mark.parametrize(
    ("console", "cause"),
    [
        ("panic", "panic: kdb_sysctl_panic"),
        ("fault", "Fatal trap 12: page fault while in kernel mode"),
        ("code", "Fatal trap 12: page fault while in kernel mode"),
        ("stack", "Fatal double fault"),
        ("noroot", "Mounting from cd9660:/dev/none failed with error 19."),
        ("noinit", "panic: no init"),
    ],
)
def test_each_panic_is_recognised_by_its_first_words(console: str, cause: str) -> None:
    lines = (CONSOLES / f"freebsd-{console}.log").read_text().splitlines()
    for exit_code, limit in ((0, ""), (None, "not booted after 90 CPU seconds")):
        failure = judge(Evidence(lines, Conversation(), "", exit_code, limit, guests.load("freebsd").panics))
        assert isinstance(failure, GuestPanic)
        assert str(failure).splitlines()[1].startswith(f"  | {cause}")


@pytest.mark.parametrize(
    ("console", "cause"), [("exit", "ended with status 3"), ("kill", "killed by signal 9"), ("null", "signal 11")]
)
def test_how_the_app_ended_is_told(console: str, cause: str) -> None:
    lines = (CONSOLES / f"freebsd-{console}.log").read_text().splitlines()
    failure = judge(Evidence(lines, Conversation(), "", 0, "", guests.load("freebsd").panics))
    assert isinstance(failure, NoBoot)
    assert cause in str(failure)
