"""A user's own kernels as guests: what is refused and with what words, and the registration from add to remove."""

from __future__ import annotations

import gzip
import multiprocessing
import os
import random
import re
import struct
from collections.abc import Mapping
from pathlib import Path

import pytest

import images
from images import GuestSpec, added, catalog, elf, guests, kernels, store
from images.guests.linux import builder
from images.model import Given
from profiler.cli.main import main
from profiler.errors import ArtifactCorrupt, UsageError
from tests.unit.test_guests import bzimage

BASE = 0xFFFFFFFF81000000
ENTRY = 0x100
BANNER_AT = 0x200
BANNER = b"Linux version 6.9.1-mine (me@here) (gcc 12) #1 SMP Sat Jan 3\n"
NAMES = {"_text": 0, "startup_64": 0, "pvh_start_xen": ENTRY, "vfs_read": 0x400, "ksys_read": 0x440, "_etext": 0x800}


def note(owner: bytes, kind: int, content: bytes) -> bytes:
    name = owner + b"\0"
    return (
        struct.pack("<III", len(name), len(content), kind)
        + name + b"\0" * (-len(name) % 4) + content + b"\0" * (-len(content) % 4)
    )  # fmt: skip


def kernel(
    *, banner: bytes = BANNER, names: Mapping[str, int] | None = None, build_id: bytes = b"\x01" * 20, pvh: bool = True,
    machine: int = 62, kind: int = 2, more: bytes = b"",
) -> bytes:  # fmt: skip
    """A vmlinux in small: one loaded segment with a banner, notes, and (if ``names``) a symbol table."""
    body = bytearray(0x1000)
    body[BANNER_AT : BANNER_AT + len(banner)] = banner
    body[0x900 : 0x900 + len(more)] = more
    notes = note(b"GNU", 3, build_id)
    notes += note(b"Xen", 18, struct.pack("<Q", (BASE & 0xFFFFFFF) + ENTRY)) if pvh else b""
    strings, table = b"\0", bytes(24)
    for name, at in (names or {}).items():
        table += struct.pack("<IBBHQQ", len(strings), 0x12, 0, 1, BASE + at, 0)
        strings += name.encode() + b"\0"
    symbols_at, strings_at = 0x1000 + len(body), 0x1000 + len(body) + len(table)
    sections_at = strings_at + len(strings)
    sections = [
        (0,) * 10,
        (0, 1, 6, BASE, 0x1000, len(body), 0, 0, 16, 0),
        (0, 2 if names else 1, 0, 0, symbols_at, len(table), 3, 1, 8, 24),
        (0, 3, 0, 0, strings_at, len(strings), 0, 0, 1, 0),
    ]
    header = struct.pack(
        "<4s12sHHIQQQIHHHHHH", elf.MAGIC, b"\x02\x01\x01" + bytes(9), kind, machine, 1, BASE & 0xFFFFFFF, 64,
        sections_at, 0, 64, 56, 2, 64, len(sections), 0,
    )  # fmt: skip
    header += struct.pack("<IIQQQQQQ", 1, 5, 0x1000, BASE, BASE & 0xFFFFFFF, len(body), len(body), 0x1000)
    header += struct.pack("<IIQQQQQQ", 4, 4, 0x800, 0, 0, len(notes), len(notes), 4)
    whole = header.ljust(0x800, b"\0") + notes
    return (
        whole.ljust(0x1000, b"\0") + body + table + strings + b"".join(struct.pack("<IIQQQQIIQQ", *s) for s in sections)
    )


def listing(names: Mapping[str, int] = NAMES, *, base: int = BASE) -> str:
    return "".join(f"{base + at:016x} T {name}\n" for name, at in names.items())


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a cache in it.  Recovering symbols from kallsyms needs a real kernel (tests/guests)."""
    monkeypatch.setenv("WEAKLINK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(builder, "symbols_of", lambda image: ("6.9.1-mine", listing()))
    (tmp_path / "vmlinux").write_bytes(kernel())
    return tmp_path


def add(
    place: Path, content: bytes | None = None, name: str = "mine", symbols: Path | None = None, **more: object
) -> added.Added:
    if content is not None:
        (place / "vmlinux").write_bytes(content)
    given = Given(place / "vmlinux", symbols)
    return added.add(name, "linux", given, progress=lambda line: None, **more)  # type: ignore[arg-type]


def give(place: Path, content: bytes | str) -> Path:
    file = place / "System.map"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def left(place: Path) -> list[str]:
    """Everything in the cache but its lock."""
    cache = place / "cache"
    return sorted(str(path.relative_to(cache)) for path in cache.rglob("*") if path.is_file() and path.name != ".lock")


def prepare(place: Path, spec: str = "mine") -> images.Bootable:
    (place / "app").write_bytes(b"app")
    program = images.Program(place / "app", "", "linux-static", "")
    return images.prepare(GuestSpec.parse(spec), program, ["--x"], work=place, progress=print)


# --- from add to remove


@pytest.mark.parametrize("pack", [lambda data: data, lambda data: bzimage(gzip.compress(data))], ids=["elf", "bzImage"])
def test_a_kernel_becomes_a_guest(place: Path, pack: object) -> None:
    assert callable(pack)
    add(place, pack(kernel()), provenance="built from source")
    linux = guests.load("linux")
    bootable = prepare(place, "mine+audit=1")
    assert bootable.kernel.elf.read_bytes() == kernel()
    assert bootable.kernel.symbols.read_text() == listing()
    assert (bootable.kernel.version, bootable.kernel.provenance) == ("6.9.1-mine", "built from source")
    assert bootable.kernel.sha256 == store.sha256_file(bootable.kernel.elf)
    assert bootable.append == f"{linux.append} audit=1 -- --x"
    assert (bootable.machine, bootable.panics, bootable.kind) == (linux.machine, linux.panics, "linux")


def test_options_are_refused_as_for_the_guests_that_are_there(place: Path) -> None:
    add(place)
    for spec in ("mine+console=x", "mine:libc"):
        with pytest.raises(UsageError):
            catalog.check(GuestSpec.parse(spec))


def test_it_is_listed_with_where_it_is_from(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["guests", "add", "mine", "--kind", "linux", "--kernel", str(place / "vmlinux")]
    assert main([*command, "--provenance", "release foo 1.2"]) == 0
    assert main(["guests", "list"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if re.match(r"mine +6\.9\.1", line))
    assert "  release foo 1.2  " in line
    assert str(place) not in line
    assert main(["guests", "verify"]) == 0
    assert re.search(r"^mine +ok$", capsys.readouterr().out, re.MULTILINE)
    assert main(["guests", "remove", "mine"]) == 0
    assert left(place) == []
    assert main(["guests", "verify", "mine"]) == 2


def test_symbols_come_from_the_elf_file_if_it_has_them(place: Path) -> None:
    own = {**NAMES, "only_here": 0x500}
    assert add(place, kernel(names=own)).symbols == "the ELF file's own"
    assert prepare(place).kernel.symbols.read_text() == listing(own)


@pytest.mark.parametrize("form", ["map", "nm", "nm -S", "elf"])
def test_symbols_can_be_given(place: Path, form: str) -> None:
    own = {**NAMES, "only_here": 0x500}
    sized = re.sub(r"^(\w+) ", r"\1 0000000000000010 ", listing(own), flags=re.MULTILINE)
    given = {
        "map": listing(own),
        "nm": f"{' ' * 16} w undefined\n{listing(own)}",
        "nm -S": sized,
        "elf": kernel(names=own),
    }[form]
    assert add(place, symbols=give(place, given)).symbols == "given"
    assert prepare(place).kernel.symbols.read_text() == listing(own)


def test_the_same_again_changes_nothing_and_another_needs_replace(place: Path) -> None:
    first = add(place)
    before = left(place)
    assert add(place) == first
    another = kernel(more=b"another build")
    with pytest.raises(UsageError, match="already") as caught:
        add(place, another)
    assert "--replace" in caught.value.hint
    with pytest.raises(UsageError, match="already"):
        add(place, kernel(), provenance="release x")
    assert left(place) == before
    second = add(place, another, replacing=True)
    assert prepare(place).kernel.elf.read_bytes() == another
    assert not (place / "cache/kernels" / first.home).exists()
    assert (place / "cache/kernels" / second.home).exists()


def test_a_kernel_stays_while_another_guest_has_it(place: Path) -> None:
    first, second = add(place), add(place, name="twin", provenance="release x")
    assert first.home == second.home
    added.remove("mine", progress=print)
    assert prepare(place, "twin").kernel.provenance == "release x"
    added.remove("twin", progress=print)
    assert left(place) == []


def test_one_kernel_with_other_symbols_is_another(place: Path) -> None:
    other = give(place, listing({**NAMES, "only_here": 0x500}))
    assert add(place).home != add(place, name="other", symbols=other).home


@pytest.mark.parametrize(
    ("damage", "state"),
    [
        (lambda home: (home / "vmlinux").write_bytes(b"x"), "changed"),
        (lambda home: (home / "System.map").write_text("x"), "changed"),
        (lambda home: (home / "vmlinux").unlink(), "missing"),
        (lambda home: (home / "seal.json").unlink(), "changed"),
        (lambda home: ((home / "vmlinux").write_bytes(b"x"), (home / "seal.json").unlink(),
                       store.seal(home, {"version": "6.9.1-mine"})), "changed"),
        (lambda home: home.rename(home.with_name("away")), "missing"),
    ],
    ids=["kernel", "symbols", "no-kernel", "no-seal", "sealed-again", "gone"],
)  # fmt: skip
def test_damage_is_told_and_not_booted(
    place: Path, damage: object, state: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(damage)
    home = place / "cache/kernels" / add(place).home
    damage(home)
    kernels.intact.cache_clear()  # as a new process would find it
    assert main(["guests", "verify", "mine"]) == 1
    assert re.search(rf"^mine +{state}$", capsys.readouterr().out, re.MULTILINE)
    assert main(["guests", "verify", "linux"]) == 0
    with pytest.raises(ArtifactCorrupt, match="mine") as caught:
        prepare(place)
    assert "weaklink guests add mine" in caught.value.hint
    add(place)
    kernels.intact.cache_clear()
    assert prepare(place).kernel.elf.read_bytes() == kernel()


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"schema": 1, "name": "mine"}', "\0"])
def test_a_registration_that_cannot_be_read(place: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    add(place)
    (place / "cache/added/mine.json").write_text(text)
    assert main(["guests", "list"]) == 0
    assert re.search(r"^mine .* damaged ", capsys.readouterr().out, re.MULTILINE)
    assert main(["guests", "verify"]) == 1
    with pytest.raises(ArtifactCorrupt):
        prepare(place)
    assert main(["guests", "remove", "mine"]) == 0


def test_a_registration_cannot_lead_out_of_the_cache(place: Path) -> None:
    home = add(place).home
    note = place / "cache/added/mine.json"
    note.write_text(note.read_text().replace(home, "../../elsewhere"))
    with pytest.raises(ArtifactCorrupt):
        prepare(place)


def _add(place: Path, number: int) -> None:
    add(place, name=f"mine{number % 2}")


def test_several_processes_at_once(place: Path) -> None:
    context = multiprocessing.get_context("fork")
    racers = [context.Process(target=_add, args=(place, number)) for number in range(4)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(timeout=60)
    assert [racer.exitcode for racer in racers] == [0] * 4
    assert catalog.verify("mine0") + catalog.verify("mine1") == [("mine0", "ok"), ("mine1", "ok")]
    assert len([path for path in (place / "cache/kernels").iterdir() if path.is_dir()]) == 1


# --- what is refused


@pytest.mark.parametrize("name", ["linux", "linux-6.12", "Mine", "a b", "../x", "", "a/b", "mine+x", "mine:x"])
def test_names_that_a_guest_cannot_have(place: Path, name: str) -> None:
    with pytest.raises(UsageError) as caught:
        add(place, name=name)
    assert caught.value.hint
    with pytest.raises(UsageError):
        added.remove(name, progress=print)
    assert left(place) == []


@pytest.mark.parametrize("text", ["two\nlines", "\x1b[31m", "x" * 121])
def test_provenance_is_one_short_line(place: Path, text: str) -> None:
    with pytest.raises(UsageError, match="provenance"):
        add(place, provenance=text)


def test_only_kinds_with_a_builder_are_offered(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert {"linux", "osv"} <= set(images.kinds())
    with pytest.raises(UsageError, match="no kind"):
        added.add("mine", "nosuch", Given(place / "vmlinux"), progress=print)
    assert main(["guests", "add", "--help"]) == 0
    assert f"{{{','.join(images.kinds())}}}" in capsys.readouterr().out


FOREIGN = {
    "gzip": (gzip.compress(kernel()), "a gzip archive"),
    "xz": (b"\xfd7zXZ\0" + bytes(99), "an xz archive"),
    "zstd": (b"\x28\xb5\x2f\xfd" + bytes(99), "a zstd archive"),
    "deb": (b"!<arch>\ndebian-binary   0", "a Debian package"),
    "iso": (bytes(0x8001) + b"CD001" + bytes(99), "an ISO image"),
    "initramfs": (b"070701" + b"0" * 104, "an initramfs"),
    "tar": (b"x".ljust(257, b"\0") + b"ustar\0" + bytes(300), "a tar archive"),
    "qcow2": (b"QFI\xfb" + bytes(99), "a qcow2 disk image"),
    "efi": (b"MZ" + bytes(2000), "an EFI or Windows program"),
    "arm-image": (bytes(56) + b"ARM\x64" + bytes(99), "64-bit ARM"),
    "text": (b"#!/bin/sh\necho\n", "a text file"),
    "map": (listing().encode(), "a list of symbols"),
    "zeros": (bytes(9999), "nothing but zeros"),
    "empty": (b"", "an empty file"),
    "noise": (b"\xff\xfe\x00\x01" * 99, "unknown format"),
    "arm": (kernel(machine=183), "64-bit ARM"),
    "object": (kernel(kind=1), "an ELF object file for x86-64"),
    "library": (kernel(kind=3), "an ELF shared object for x86-64"),
    "32-bit": (b"\x7fELF\x01\x01\x01" + bytes(9) + struct.pack("<HH", 2, 3) + bytes(99), "32-bit x86"),
    "big-endian": (b"\x7fELF\x02\x02\x01" + bytes(9) + struct.pack(">HH", 2, 21) + bytes(99), "64-bit PowerPC"),
    "program": (kernel(banner=b"hello"), "without Linux's version banner"),
    "near-miss": (kernel(banner=b"Linux version %s"), "without Linux's version banner"),
    "osv": (kernel(banner=b"OSv v0.57.0-398\0", more=b"_ZN3osv5printE"), "another system, OSv v0.57.0-398"),
    "freebsd": (kernel(banner=b"@(#)FreeBSD 14.1-RELEASE #0\0"), "another system, FreeBSD 14.1-RELEASE"),
    "netbsd": (kernel(banner=b"NetBSD 10.0 (GENERIC)\0"), "another system, NetBSD 10.0"),
    "no-pvh": (kernel(pvh=False), "CONFIG_PVH"),
    "bz-no-pvh": (bzimage(gzip.compress(kernel(pvh=False))), "CONFIG_PVH"),
    "bz-arm": (bzimage(gzip.compress(kernel(machine=183))), "not for x86-64"),
}  # fmt: skip


@pytest.mark.parametrize("what", FOREIGN)
def test_what_is_no_such_kernel_is_called_what_it_is(place: Path, what: str) -> None:
    content, words = FOREIGN[what]
    with pytest.raises(UsageError, match=re.escape(words)) as caught:
        add(place, content)
    assert caught.value.hint
    assert left(place) == []


def test_what_is_no_file(place: Path) -> None:
    os.mkfifo(place / "pipe")
    (place / "folder").mkdir()
    for name, words in (("pipe", "a pipe"), ("folder", "a directory"), ("nosuch", "No such file"), ("a\0b", "a path")):
        with pytest.raises(UsageError, match=words):
            added.add("mine", "linux", Given(place / name), progress=print)


@pytest.mark.parametrize("size", [10, 40, 100, 0x810, 0x1800, 0x1FFF])
def test_a_kernel_that_is_cut_short(place: Path, size: int) -> None:
    with pytest.raises(ArtifactCorrupt) as caught:
        add(place, kernel(names=NAMES)[:size])
    assert caught.value.hint
    assert left(place) == []


def test_a_bzimage_that_is_damaged(place: Path) -> None:
    with pytest.raises(ArtifactCorrupt, match="cut short") as caught:
        add(place, bzimage(gzip.compress(kernel()))[:-9])
    assert "package" not in caught.value.hint


def assert_named(error: UsageError | ArtifactCorrupt) -> None:
    assert error.hint


def test_elf_files_that_lie_end_in_a_named_failure(place: Path) -> None:
    whole, dice = kernel(names=NAMES), random.Random(3)
    for _ in range(300):
        bad = bytearray(whole)
        for _ in range(4):
            at = dice.choice(
                [dice.randrange(16, 176), dice.randrange(0x800, 0x850), dice.randrange(0x2000, len(whole))]
            )
            bad[at] = dice.randrange(256)
        try:
            add(place, bytes(bad), replacing=True)
        except (UsageError, ArtifactCorrupt) as error:
            assert_named(error)


def test_a_kernel_without_symbols_of_any_kind(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(image: bytes) -> tuple[str, str]:
        raise ArtifactCorrupt("no symbols found in the kernel")

    monkeypatch.setattr(builder, "symbols_of", none)
    with pytest.raises(ArtifactCorrupt, match="no symbols") as caught:
        add(place)
    assert "--symbols" in caught.value.hint
    assert add(place, symbols=give(place, listing())).symbols == "given"


WRONG = {
    "other-base": (listing(base=BASE + 0x200000), "_text at"),
    "no-text": (listing({"vfs_read": 0x400}), "no _text"),
    "entry": (listing({**NAMES, "pvh_start_xen": 0x180}), "entry point"),
    "banner": (listing({**NAMES, "linux_banner": 0x240}), "linux_banner"),
    "other-build": (listing({**NAMES, "ksys_read": 0x450}), "1 of the kernel's 6 functions"),
    "incomplete": (listing({"_text": 0, "startup_64": 0}), "4 of the kernel's 6 functions"),
    "build-id": (kernel(names=NAMES, build_id=b"\x02" * 20), "build id"),
    "version": (kernel(names=NAMES, banner=BANNER.replace(b"6.9.1", b"6.9.2")), "Linux 6.9.2-mine"),
    "compiled-later": (kernel(names=NAMES, banner=BANNER.replace(b"Jan 3", b"Jan 4")), "another build"),
    "stripped": (kernel(), "stripped"),
    "arm": (kernel(names=NAMES, machine=183), "64-bit ARM"),
    "text": ("hello\n", "a text file"),
    "gzip": (gzip.compress(listing().encode()), "a gzip archive"),
    "bzimage": (bzimage(gzip.compress(kernel())), "bzImage"),
    "empty": ("", "an empty file"),
    "debian": ("ffffffffffffffff B The real System.map is in the linux-image-<version>-dbg package\n", "-dbg"),
}


@pytest.mark.parametrize("what", WRONG)
def test_symbols_that_are_not_the_kernels(place: Path, what: str) -> None:
    content, words = WRONG[what]
    with pytest.raises(UsageError, match=re.escape(words)) as caught:
        add(place, symbols=give(place, content))
    assert caught.value.hint
    assert left(place) == []


def test_symbols_that_a_true_banner_vouches_for(place: Path) -> None:
    assert add(place, symbols=give(place, listing({**NAMES, "linux_banner": BANNER_AT})))
