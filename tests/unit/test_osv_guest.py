"""The OSv guest without a boot: its disk, its command line, its panics, and which kernels are taken for one."""

from __future__ import annotations

import re
import struct
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from images import GuestSpec, Program, added, catalog, guests
from images.guests.osv import builder, linked, rofs
from images.model import Bootable, Given
from profiler.cli.main import main
from profiler.errors import ArtifactUnavailable, GuestPanic, NoBoot, UsageError
from profiler.machine.console import Conversation
from profiler.machine.verdict import Evidence, judge
from tests.unit import test_added

CONSOLES = Path(__file__).parent / "consoles"
BANNER = b"OSv v0.99.0-7-gabc\n\0"


# --- the disk


def read_back(disk: bytes) -> dict[str, rofs.Content]:
    """Read a disk as OSv does: the second partition, its superblock, the tables, from the root down."""
    assert disk[510:512] == b"\x55\xaa"
    _, start, kind, _, first, blocks = struct.unpack_from("<B3sB3sII", disk, 0x1BE + 16)
    assert kind
    assert start[1] & 0x3F
    assert len(disk) == 512 * (first + blocks)
    system = disk[512 * first :]
    magic, version, block, table_at, table_blocks, entry_count, link_count, inode_count = struct.unpack_from(
        "<8Q", system
    )
    assert (magic, version, block) == (0xDEADBEAD, 1, 512)
    assert table_at + table_blocks == blocks
    at = 512 * table_at
    entries, links = [], []
    for _ in range(entry_count):
        number, length = struct.unpack_from("<QH", system, at)
        entries.append((number, system[at + 10 : at + 10 + length].decode()))
        at += 10 + length
    for _ in range(link_count):
        (length,) = struct.unpack_from("<H", system, at)
        links.append(system[at + 2 : at + 2 + length].decode())
        at += 2 + length
    inodes = [struct.unpack_from("<4Q", system, at + 32 * n) for n in range(inode_count)]
    assert [inode[1] for inode in inodes] == list(range(1, inode_count + 1))

    def walk(path: str, number: int) -> Iterator[tuple[str, rofs.Content]]:
        kind, _, data, count = inodes[number - 1]
        if kind == 0x4000:
            if not count:
                yield path, None
            for child, name in entries[data : data + count]:
                yield from walk(f"{path}/{name}", child)
        elif kind == 0xA000:
            yield path, links[data]
        else:
            assert kind == 0x8000
            assert data >= 1
            assert 512 * data + count <= 512 * table_at
            yield path, system[512 * data : 512 * data + count]

    return dict(walk("", 1))


name = st.text(st.characters(codec="utf-8", exclude_characters="/", min_codepoint=33), min_size=1, max_size=8).filter(
    lambda text: text not in (".", "..") and "\x7f" not in text
)
content = st.one_of(st.binary(max_size=1500), st.text("ab/.", min_size=1, max_size=20), st.none())
trees = st.recursive(
    st.dictionaries(name, content, max_size=4),
    lambda inner: st.dictionaries(name, st.one_of(content, inner)),
    max_leaves=12,
)


def flat(tree: Mapping[str, object], path: str = "") -> Iterator[tuple[str, rofs.Content]]:
    for key, inner in tree.items():
        if isinstance(inner, dict) and inner:
            yield from flat(inner, f"{path}/{key}")
        else:
            assert inner is None or isinstance(inner, bytes | str | dict)
            yield f"{path}/{key}", None if isinstance(inner, dict) else inner


@given(trees)
def test_what_is_written_reads_back(tmp_path_factory: pytest.TempPathFactory, tree: dict[str, object]) -> None:
    files = dict(flat(tree))
    disk = tmp_path_factory.mktemp("disk") / "disk.img"
    rofs.write(disk, files)
    assert read_back(disk.read_bytes()) == (files or {"": None})
    first = disk.read_bytes()
    rofs.write(disk, dict(reversed(files.items())))
    assert disk.read_bytes() == first, "the order of files is no matter"


def test_large_files_are_copied(tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(bytes(range(256)) * 10_000 + b"end")
    rofs.write(tmp_path / "disk", {"/a/b/large": large, "/small": b"x"})
    assert read_back((tmp_path / "disk").read_bytes()) == {"/a/b/large": large.read_bytes(), "/small": b"x"}


@pytest.mark.parametrize(
    "files",
    [{"relative": b""}, {"/": b""}, {"/a/../b": b""}, {"/a//b": b""}, {"/a\n": b""}, {"/" + "n" * 256: b""},
     {"/a": b"", "/a/b": b""}, {"/a/b": b"", "/a": b""}, {"/a": b"", "/a/b": None}, {"/gone": Path("/no/such/file")},
     {"/folder": Path("/")}],
    ids=range(11),
)  # fmt: skip
def test_what_cannot_be_on_a_disk(tmp_path: Path, files: dict[str, rofs.Content]) -> None:
    with pytest.raises(UsageError):
        rofs.write(tmp_path / "disk", files)
    assert not (tmp_path / "disk").exists()


# --- kernels


def kernel(*, banner: bytes = BANNER, symbols: bool = True, note: bytes = b"osv\0", more: bytes = b"") -> bytes:
    """An OSv kernel in small: the note that says what it is, its version, and symbols where wanted."""
    whole = bytearray(test_added.kernel(banner=banner, names={"syscall": 0x40} if symbols else None, more=more))
    osv = test_added.note(b"Xen", 6, note)
    struct.pack_into("<Q", whole, 64 + 56 + 32, len(osv))  # the size of the notes, in their program header
    whole[0x800 : 0x800 + len(osv)] = osv
    return bytes(whole)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WEAKLINK_CACHE", str(tmp_path / "cache"))
    return tmp_path


def add(place: Path, content: bytes, symbols: bytes | None = None, name: str = "osv") -> added.Added:
    (place / "loader-stripped.elf").write_bytes(content)
    if symbols is not None:
        (place / "loader.elf").write_bytes(symbols)
    files = Given(place / "loader-stripped.elf", place / "loader.elf" if symbols is not None else None)
    return added.add(name, "osv", files, progress=lambda line: None)


def test_without_a_kernel_it_is_listed_with_what_to_do(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["guests", "list"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"^osv +- +not here +libc,static,glibc .*weaklink guests add osv --kind osv", said, re.MULTILINE)
    with pytest.raises(ArtifactUnavailable) as caught:
        catalog.check(GuestSpec("osv"))
    assert "weaklink guests add osv" in caught.value.hint


def test_a_kernel_may_have_the_guests_own_name(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert add(place, kernel()).version == "v0.99.0-7-gabc"
    assert main(["guests", "list"]) == 0
    assert re.search(r"^osv +v0\.99\.0-7-gabc +ready ", capsys.readouterr().out, re.MULTILINE)
    assert main(["guests", "remove", "osv"]) == 0
    assert main(["guests", "list"]) == 0
    assert re.search(r"^osv +- +not here ", capsys.readouterr().out, re.MULTILINE)
    assert main(["guests", "remove", "osv"]) == 2


def test_symbols_may_come_from_the_same_build_alone(place: Path) -> None:
    stripped = kernel(symbols=False)
    with pytest.raises(UsageError, match="has no symbols"):
        add(place, stripped)
    assert add(place, stripped, kernel()).symbols == "given"
    found = guests.builder_of(catalog.check(GuestSpec("osv"))).ready(
        catalog.check(GuestSpec("osv")), cache=place / "cache"
    )
    assert found is not None
    assert (found.elf.read_bytes(), found.symbols.read_bytes()) == (stripped, kernel())
    with pytest.raises(UsageError, match="another OSv v0"):
        add(place, stripped, kernel(more=b"one byte more"), name="b")
    with pytest.raises(UsageError, match=r"of OSv v1\.0, the kernel is OSv v0\.99"):
        add(place, stripped, kernel(banner=b"OSv v1.0\0"), name="b")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (test_added.kernel(names=test_added.NAMES), "a kernel of another system, Linux"),
        (test_added.kernel(banner=b"FreeBSD 15.1-RELEASE\0"), "a kernel of another system, FreeBSD 15.1-RELEASE"),
        (test_added.kernel(banner=b"nothing"), "an ELF program, no kernel"),
        (kernel(banner=b"nothing"), "an OSv kernel that does not say its version"),
        (kernel(note=b"linux\0"), "no kernel|another system"),
        (bytes(510) + b"\x55\xaa" + bytes(9000), "a disk image"),
        (b"hello\n", "a text file"),
    ],
    ids=["linux", "freebsd", "program", "no version", "another note", "disk", "text"],
)
def test_what_is_no_osv_kernel_is_named(place: Path, content: bytes, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        add(place, content)
    assert caught.value.hint
    assert not list((place / "cache").rglob("*.json"))


# --- how it boots


LOADER, LIBC = "/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/libc.so.6"


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A static program, and a dynamic one that needs a library that needs another."""
    folder = tmp_path_factory.mktemp("built")
    (folder / "main.c").write_text("#ifndef STATIC\nint other(int);\nint main(void) { return other(1); }\n"
                                   "#else\nint main(void) { return 0; }\n#endif\n")  # fmt: skip
    (folder / "other.c").write_text("int third(int);\nint other(int n) { return third(n); }\n")
    (folder / "third.c").write_text("static char much[99999];\nint third(int n) { return much[n]; }\n")
    for words in (
        "-static -DSTATIC main.c -o static",
        "-shared -fPIC third.c -o libthird.so.1",
        "-shared -fPIC other.c -o libother.so.1 -Wl,--no-as-needed -l:libthird.so.1 -L.",
        "-fPIE -pie main.c -o dynamic -Wl,--no-as-needed -l:libother.so.1 -L. -Wl,--allow-shlib-undefined",
    ):
        subprocess.run(["gcc", *words.split()], cwd=folder, check=True, timeout=60)
    return folder


def prepare(place: Path, built: Path, runtime: str, *arguments: str) -> Bootable:
    add(place, kernel())
    program = Program(built / "static", "", "", "", frozenset({"main"}), {}, "", {"/data/a": built / "main.c"})
    if runtime != "static":
        (place / "file").write_bytes(b"x")
        libraries = {f"/opt/{name}": built / name for name in ("libother.so.1", "libthird.so.1")}
        libraries |= {LOADER: place / "file", LIBC: place / "file"}
        program = replace(program, elf=built / "dynamic", libraries=libraries, interpreter=LOADER)
    return catalog.prepare(GuestSpec("osv", runtime, ("verbose",)), program, arguments, work=place, progress=print)


def on_disk(bootable: Bootable) -> set[str]:
    assert bootable.disk is not None
    return {path for path in read_back(bootable.disk.read_bytes()) if not path.startswith(("/etc", "/dev"))}


ALWAYS = {"/proc", "/sys", "/tmp", "/app", "/data/a"}


def test_a_static_program_lies_where_it_was_linked(place: Path, built: Path) -> None:
    bootable = prepare(place, built, "static", "--x", "a b")
    assert bootable.append == '--norandom --rootfs=rofs --verbose /app --x "a b"'
    assert [(user.base, user.own) for user in bootable.user] == [(0, frozenset({"main"}))]
    assert (bootable.libc_in_kernel, bootable.locate) == (False, None)
    assert on_disk(bootable) == ALWAYS


def size_in_memory(path: Path) -> int:
    """The end of what a library loads, in whole pages, by what readelf says."""
    table = subprocess.run(["readelf", "-lW", path], capture_output=True, text=True, check=True, timeout=60).stdout
    last = [line.split() for line in table.splitlines() if line.startswith("  LOAD")][-1]
    return (int(last[2], 16) + int(last[5], 16) + 0xFFF) & ~0xFFF


def test_the_kernel_links_a_dynamic_program_with_itself(place: Path, built: Path) -> None:
    bootable = prepare(place, built, "libc")
    assert bootable.append == "--norandom --rootfs=rofs --verbose /app"
    other = linked.BASE + size_in_memory(built / "dynamic")
    third = other + size_in_memory(built / "libother.so.1")
    assert [(user.elf.name, user.base, user.own) for user in bootable.user] == [
        ("dynamic", linked.BASE, frozenset({"main"})), ("libother.so.1", other, None), ("libthird.so.1", third, None),
    ]  # fmt: skip
    assert (bootable.libc_in_kernel, bootable.locate) == (True, None)
    assert on_disk(bootable) == {*ALWAYS, "/usr/lib/libother.so.1", "/usr/lib/libthird.so.1"}


def test_what_cannot_be_linked_is_refused(place: Path, built: Path) -> None:
    with pytest.raises(UsageError, match="no program or library"):
        linked.placed(built / "dynamic", None, {"/usr/lib/libother.so.1": built / "main.c"})


def test_linuxs_loader_starts_a_dynamic_program_as_on_linux(place: Path, built: Path) -> None:
    bootable = prepare(place, built, "glibc", "x")
    folders = "--env=LD_LIBRARY_PATH=/lib/x86_64-linux-gnu:/lib64:/opt"
    assert bootable.append == f"--norandom --rootfs=rofs --verbose {folders} {LOADER} /app x"
    assert bootable.locate == f"--norandom --rootfs=rofs --verbose {folders} --env=LD_DEBUG=files {LOADER} /app x"
    assert [(user.base, user.own) for user in bootable.user] == [(linked.BASE, frozenset())]
    assert not bootable.libc_in_kernel
    assert on_disk(bootable) == {*ALWAYS, LOADER, LIBC, "/opt/libother.so.1", "/opt/libthird.so.1"}


@pytest.mark.parametrize(
    ("word", "as_read"), [("a", "a"), ("", '""'), ("a b", '"a b"'), ('q"\\', '"q\\"\\\\"'), ("a;b", '"a;b"')]
)
def test_words_are_quoted(word: str, as_read: str) -> None:
    assert builder.quoted(word) == as_read


@pytest.mark.parametrize("word", ["$HOME", "ü", "a\nb", "\0"])
def test_words_that_cannot_be_given(word: str) -> None:
    with pytest.raises(UsageError):
        builder.quoted(word)


def test_each_runtime_says_what_it_is_fair_for() -> None:
    runtimes = guests.load("osv").runtimes
    assert next(iter(runtimes)) == "libc"
    assert all(runtime.fair for runtime in runtimes.values())
    assert [runtime.name for runtime in runtimes.values() if runtime.libc_in_kernel] == ["libc"]


# --- how it ends: consoles of a real OSv that tests/guests/crash.c brought down


@pytest.mark.parametrize(
    ("console", "cause"),
    [
        ("null", "Aborted"),
        ("abort", "Aborted"),
        ("noncanonical", "general protection fault"),
        ("undefined", "DUMMY_HANDLER for invalid_opcode aborting."),
        ("kernel-fault", "page fault outside application, addr: 0x0000123456789000"),
        ("null-call", "trying to execute null pointer"),
        ("stack", "trying to execute or access missing symbol"),
        ("assertion", "Assertion failed: ef->rflags & processor::rflags_if"),
        ("no-app", "Failed to load object: /app. Powering off."),
        ("option", "unrecognized option: frobnicate"),
    ],
)
def test_each_panic_is_recognised_by_its_first_words(console: str, cause: str) -> None:
    lines = (CONSOLES / f"osv-{console}.log").read_text().splitlines()
    for exit_code, limit in ((0, ""), (None, "not done after 600 CPU seconds")):
        evidence = Evidence(lines, Conversation(), "", exit_code, limit, guests.load("osv").panics)
        failure = judge(evidence)
        assert isinstance(failure, GuestPanic)
        assert str(failure).splitlines()[1].startswith(f"  | {cause}")


@pytest.mark.parametrize(
    ("spec", "unknown"),
    [("osv+verbose+frobnicate", ["frobnicate"]), ("osv+frobnicate=1", ["frobnicate=1"]), ("osv+frob", [])],
)
def test_an_option_that_the_kernel_does_not_know_is_named(spec: str, unknown: list[str]) -> None:
    console = (CONSOLES / "osv-option.log").read_bytes()
    assert guests.load("osv").unknown_options(GuestSpec.parse(spec), console) == unknown
    assert guests.load("linux").unknown_options(GuestSpec.parse(spec), console) == []


@pytest.mark.parametrize("console", ["exit", "located"])
def test_no_panic_is_seen_where_there_is_none(console: str) -> None:
    lines = (CONSOLES / f"osv-{console}.log").read_text().splitlines()
    failure = judge(Evidence(lines, Conversation(), panics=guests.load("osv").panics))
    assert isinstance(failure, NoBoot)
