"""Guests: the spec's grammar, their data, and the way from apt to a bootable kernel, in an archive of our own."""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import multiprocessing
import os
import re
import shutil
import struct
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import lz4.block
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

import images
from images import GuestSpec, decompress, guests, kernels
from images.guests.linux import builder
from profiler.errors import ArtifactCorrupt, ArtifactUnavailable, DiskFull, ToolMissing, UsageError
from tests.conftest import SmallDisk

KERNEL = "linux-image-6.1.0-99-cloud-amd64"
ELF = b"\x7fELF" + bytes(range(256)) * 40


# --- the spec


@pytest.mark.parametrize("text", ["linux", "osv:libc", "linux+audit=1+init_on_alloc=0", "a-b.c:static+x+y=1,2:3@4"])
def test_spec_reads_back(text: str) -> None:
    assert str(GuestSpec.parse(text)) == text


def test_spec_parts() -> None:
    assert GuestSpec.parse("osv:libc+a=1+b") == GuestSpec("osv", "libc", ("a=1", "b"))


@pytest.mark.parametrize(
    "text",
    ["", ":x", "+a", "linux:", "linux+", "Linux", "li nux", "../linux", "linux+a b", "linux+a/b", 'linux+a="b"',
     "linux+a'", "linux+a\n", "linux+--", "linux+-x", "linux+a+a", "linux+\u202ea", "linux+" + "a" * 90,
     "linux+a;b", "linux+$x"],
)  # fmt: skip
def test_spec_is_refused_with_the_way_out(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        GuestSpec.parse(text)
    assert caught.value.hint
    assert str(caught.value).isprintable()


word = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.,:=@-]{0,8}", fullmatch=True)


@given(st.lists(word, max_size=4, unique=True), st.lists(word, max_size=4, unique=True))
def test_directory_names_are_plain_and_distinct(left: list[str], right: list[str]) -> None:
    specs = [GuestSpec("linux", "", tuple(left)), GuestSpec("linux", "", tuple(right))]
    names = [spec.directory_name() for spec in specs]
    assert all(re.fullmatch(r"[A-Za-z0-9._+=%-]+", name) for name in names)
    assert (names[0] == names[1]) == (specs[0] == specs[1])


# --- the data


def test_every_guest_loads_and_has_a_builder() -> None:
    assert {"linux", "linux-6.12"} <= set(guests.names())
    for name in guests.names():
        guest = guests.load(name)
        assert guest.panics
        assert callable(guests.builder_of(guest).prepare)
        assert GuestSpec.parse(name).name == name


def test_importing_images_is_cheap() -> None:
    heavy = "{'numpy', 'pandas', 'lz4', 'tarfile'}"
    code = f"import sys, images; images.GuestSpec.parse('linux'); print(len({heavy} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "0"


@pytest.mark.parametrize(
    ("line", "ends"),
    [
        ("[    1.042] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)", True),
        ("Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b", True),
        ("[    0.5] Oops: 0002 [#1] PREEMPT SMP NOPTI", True),
        ("[    0.5] BUG: unable to handle page fault for address: ffffc90000000000", True),
        ("[    0.5] kernel BUG at mm/slub.c:4168!", True),
        ("[    2.1] general protection fault, probably for non-canonical address: 0000 [#1]", True),
        ("weaklink: ready", False),
        ("[    0.0] Command line: console=ttyS0 quiet panic=-1", False),
        ("[    0.1] debug: BUGGY firmware", False),
    ],
)
def test_panic_patterns(line: str, ends: bool) -> None:
    assert any(re.search(pattern, line) for pattern in guests.load("linux").panics) == ends


# --- the kernel inside a bzImage


def bzimage(payload: bytes) -> bytes:
    """A kernel image as the boot protocol has it: one setup sector, then the payload."""
    head = bytearray(1024)
    head[0x1F1] = 1
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<II", head, 0x248, 0, len(payload))
    return bytes(head) + payload


def lz4_legacy(data: bytes) -> bytes:
    chunk = lz4.block.compress(data, store_size=False)
    return b"\x02\x21\x4c\x18" + struct.pack("<I", len(chunk)) + chunk + struct.pack("<I", len(data))


@pytest.mark.parametrize("pack", [lz4_legacy, gzip.compress, lzma.compress, zstandard.compress])
def test_each_compression(pack: Callable[[bytes], bytes]) -> None:
    assert decompress.elf_of_bzimage(bzimage(pack(ELF))) == ELF


@pytest.mark.parametrize("pack", [lz4_legacy, gzip.compress, lzma.compress, zstandard.compress])
def test_a_damaged_payload(pack: Callable[[bytes], bytes]) -> None:
    payload = bytearray(pack(ELF))
    payload[12:40] = b"\xff" * 28
    with pytest.raises(ArtifactCorrupt):
        decompress.elf_of_bzimage(bzimage(bytes(payload)))


@pytest.mark.parametrize("image", [b"", b"\x7fELF", bytes(4096), bzimage(gzip.compress(b"no kernel")), bzimage(ELF),
                                   bzimage(gzip.compress(ELF))[:1100]], ids=range(6))  # fmt: skip
def test_what_is_no_kernel(image: bytes) -> None:
    with pytest.raises(ArtifactCorrupt) as caught:
        decompress.elf_of_bzimage(image)
    assert caught.value.exit_code == 20


def test_a_kernel_without_symbols() -> None:
    with pytest.raises(ArtifactCorrupt, match="no symbols"):
        builder.symbols_of(ELF)


# --- from apt to a bootable kernel


def tar(members: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return data.getvalue()


def deb(members: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    """A Debian package: an ar archive of a version, an empty control part and ``members``."""
    parts = [("debian-binary", b"2.0\n"), ("control.tar.gz", tar([])), ("data.tar.gz", tar(members))]
    body = b"!<arch>\n"
    for name, content in parts:
        body += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode() + content
        body += b"\n" * (len(content) % 2)
    return body


def kernel_members() -> list[tuple[tarfile.TarInfo, bytes]]:
    return [
        (tarfile.TarInfo("./boot/config-6.1.0-99"), b"CONFIG_X=y\n"),
        (tarfile.TarInfo("./boot/vmlinuz-6.1.0-99"), bzimage(lz4_legacy(ELF))),
    ]


@dataclass
class Archive:
    """An archive of our own behind programs named apt-get and apt-cache, and what was asked of it."""

    place: Path
    said: list[str] = field(default_factory=list)

    @property
    def downloads(self) -> int:
        log = self.place / "log"
        return len(log.read_text().splitlines()) if log.exists() else 0

    def offer(self, package: bytes, *, digest: str = "") -> None:
        (self.place / "package").write_bytes(package)
        digest = digest or hashlib.sha256(package).hexdigest()
        (self.place / "show").write_text(
            f"Package: {KERNEL}\nVersion: 6.1.99-1\nDescription: x\n SHA256: no\n"
            f"Size: {len(package)}\nSHA256: {digest}\n\n"
        )

    def prepare(self, spec: str = "linux", arguments: tuple[str, ...] = ("--seed", "1")) -> images.Bootable:
        work = self.place / "work"
        work.mkdir(exist_ok=True)
        (work / "app").write_bytes(b"app")
        return images.prepare(
            GuestSpec.parse(spec), images.Program(work / "app", "", "linux-static", ""), arguments,
            cache=self.place / "cache", work=work, progress=self.said.append,
        )  # fmt: skip


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    if not shutil.which("dpkg-deb"):
        pytest.skip("there is no dpkg-deb on this machine")
    programs = tmp_path / "bin"
    programs.mkdir()
    scripts = {
        "apt-cache": f"""case "$1" in
            depends) echo linux-image-cloud-amd64; echo "  Depends: {KERNEL}" ;;
            show) cat {tmp_path}/show ;;
            esac""",
        "apt-get": f"echo x >> {tmp_path}/log; sleep 0.2; cp {tmp_path}/package ./{KERNEL}_6.1.99-1_amd64.deb",
    }
    for name, script in scripts.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    # Recovering symbols needs a real kernel (tests/guests); everything else here is real.
    monkeypatch.setattr(builder, "symbols_of", lambda elf: ("6.1.0-99", "ffffffff81000000 T _text\n"))
    found = Archive(tmp_path)
    found.offer(deb(kernel_members()))
    return found


def test_prepare(archive: Archive) -> None:
    bootable = archive.prepare("linux+audit=1+init_on_alloc=0")
    assert bootable.kind == "linux"
    assert bootable.kernel.elf.read_bytes() == ELF
    assert bootable.kernel.sha256 == hashlib.sha256(ELF).hexdigest()
    assert bootable.kernel.provenance == f"release {KERNEL} 6.1.99-1"
    assert bootable.append.endswith(" audit=1 init_on_alloc=0 -- --seed 1")
    assert bootable.initrd is not None
    assert bootable.initrd.parent == archive.place / "work"
    home = bootable.kernel.elf.parent
    assert {path.name for path in home.iterdir()} == {"vmlinux", "System.map", "config", "seal.json"}


def test_fetched_once_and_then_without_apt(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {info.name: info.state for info in images.list_guests(archive.place / "cache")}
    assert before["linux"] == "fetched on first use"
    archive.prepare()
    said = len(archive.said)
    shutil.rmtree(archive.place / "bin")
    archive.prepare("linux+audit=1")
    assert (archive.downloads, len(archive.said)) == (1, said)
    listed = {info.name: info for info in images.list_guests(archive.place / "cache")}["linux"]
    assert (listed.state, listed.version, listed.sha256) == ("ready", "6.1.0-99", hashlib.sha256(ELF).hexdigest())


def test_the_kernel_stays_when_the_archive_moves_on(archive: Archive) -> None:
    first = archive.prepare().kernel
    archive.offer(deb(kernel_members()[::-1]))
    assert archive.prepare().kernel == first


def test_a_damaged_cache_is_made_again(archive: Archive) -> None:
    kernel = archive.prepare().kernel
    kernel.elf.write_bytes(ELF + b"!")
    kernels.intact.cache_clear()  # as a new process would find it
    assert archive.prepare().kernel.elf.read_bytes() == ELF
    assert archive.downloads == 2
    assert any("damaged" in line for line in archive.said)


def _prepare(archive: Archive, results: multiprocessing.Queue[str]) -> None:
    results.put(archive.prepare().kernel.sha256)


def test_two_processes_fetch_once(archive: Archive) -> None:
    context = multiprocessing.get_context("fork")
    results: multiprocessing.Queue[str] = context.Queue()
    racers = [context.Process(target=_prepare, args=(archive, results)) for _ in range(3)]
    for racer in racers:
        racer.start()
    digests = {results.get(timeout=30) for _ in racers}
    for racer in racers:
        racer.join()
    assert digests == {hashlib.sha256(ELF).hexdigest()}
    assert archive.downloads == 1


def nothing_left(archive: Archive) -> bool:
    kernels = archive.place / "cache/kernels"
    return [path.name for path in kernels.iterdir()] == [".lock"] and not (archive.place / "cache/guests").exists()


def test_a_wrong_digest(archive: Archive) -> None:
    archive.offer(deb(kernel_members()), digest="0" * 64)
    with pytest.raises(ArtifactCorrupt, match="SHA-256"):
        archive.prepare()
    assert nothing_left(archive)


def test_a_truncated_package(archive: Archive) -> None:
    whole = deb(kernel_members())
    archive.offer(whole[: len(whole) // 2])
    with pytest.raises(ArtifactCorrupt):
        archive.prepare()
    assert nothing_left(archive)


def link(name: str, kind: bytes, target: str = "/etc/passwd") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


@pytest.mark.parametrize(
    "evil",
    [
        (tarfile.TarInfo("/boot/vmlinuz-1"), b"x"),
        (tarfile.TarInfo(".//boot/vmlinuz-1"), b"x"),
        (tarfile.TarInfo("./boot/../../boot/vmlinuz-1"), b"x"),
        (tarfile.TarInfo("../escape"), b"x"),
        link("./boot/vmlinuz-1", tarfile.SYMTYPE),
        link("./boot/vmlinuz-1", tarfile.LNKTYPE, "../../../etc/passwd"),
        link("./boot/vmlinuz-1", tarfile.CHRTYPE),
        link("./boot/vmlinuz-1", tarfile.FIFOTYPE),
        link("./boot/config-1", tarfile.DIRTYPE),
        (tarfile.TarInfo("./boot/vmlinuz-1"), b""),
    ],
    ids=["absolute", "double-slash", "dots", "outside", "symlink", "hardlink", "device", "fifo", "directory", "empty"],
)
def test_an_evil_package(archive: Archive, evil: tuple[tarfile.TarInfo, bytes]) -> None:
    archive.offer(deb([evil, *kernel_members()]))
    with pytest.raises(ArtifactCorrupt):
        archive.prepare()
    assert nothing_left(archive)
    assert not (archive.place.parent / "escape").exists()


def test_a_package_without_a_kernel(archive: Archive) -> None:
    archive.offer(deb(kernel_members()[:1]))
    with pytest.raises(ArtifactCorrupt, match="vmlinuz"):
        archive.prepare()


def test_a_full_disk(archive: Archive, small_disk: SmallDisk) -> None:
    small_disk(archive.place / "cache", "64k")
    archive.offer(deb([(tarfile.TarInfo("./boot/vmlinuz-1"), os.urandom(1 << 20))]))
    with pytest.raises(DiskFull) as caught:
        archive.prepare()
    assert "WEAKLINK_CACHE" in caught.value.hint
    assert nothing_left(archive)


def test_apt_does_not_know_the_package(archive: Archive) -> None:
    (archive.place / "bin/apt-cache").write_text("#!/bin/sh\necho 'E: No packages found' >&2\nexit 100\n")
    with pytest.raises(ArtifactUnavailable, match="No packages found") as caught:
        archive.prepare()
    assert "apt-get update" in caught.value.hint


def test_apt_cannot_fetch(archive: Archive) -> None:
    (archive.place / "bin/apt-get").write_text("#!/bin/sh\necho 'E: Failed to fetch' >&2\nexit 100\n")
    with pytest.raises(ArtifactUnavailable, match="Failed to fetch"):
        archive.prepare()
    assert nothing_left(archive)


def test_there_is_no_apt(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(archive.place / "nowhere"))
    with pytest.raises(ToolMissing, match="apt-cache"):
        archive.prepare()


@pytest.mark.parametrize("spec", ["nosuch", "linux:libc", "linux+console=tty0", "linux+rdinit=/x", "linux+panic=5"])
def test_specs_that_a_guest_cannot_have(archive: Archive, spec: str) -> None:
    with pytest.raises(UsageError) as caught:
        archive.prepare(spec)
    assert caught.value.hint
    assert archive.downloads == 0


@pytest.mark.parametrize("argument", ["", "a b", 'a"b', "a\n", "x" * 2000])
def test_arguments_that_a_command_line_cannot_carry(archive: Archive, argument: str) -> None:
    with pytest.raises(UsageError):
        archive.prepare(arguments=(argument,))


def test_more_arguments_than_the_kernel_hands_on(archive: Archive) -> None:
    with pytest.raises(UsageError):
        archive.prepare(arguments=("x",) * 25)
