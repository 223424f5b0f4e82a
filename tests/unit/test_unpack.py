"""What is unpacked of files that others made: what is wanted, in bounded memory, and nothing past the bounds."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from images import unpack
from profiler.errors import ArtifactCorrupt, UsageError

CONTENT = bytes(range(256)) * 400
MOST = 1 << 20


def archive(*members: tuple[str, bytes], **more: object) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            for key, value in more.items():
                setattr(member, key, value)
            tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


def take(place: Path, content: bytes, member: str = "", most: int = MOST) -> bytes:
    (place / "packed").write_bytes(content)
    unpack.take(place / "packed", member, place / "out", most)
    return (place / "out").read_bytes()


def xz(content: bytes) -> bytes:
    return lzma.compress(content, preset=0)  # of little memory


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes, "gzip": gzip.compress, "bzip2": bz2.compress, "xz": xz,
    "two streams": lambda content: xz(content[:999]) + bytes(8) + xz(content[999:]),
}  # fmt: skip


@pytest.mark.parametrize("pack", PACKERS.values(), ids=PACKERS)
def test_a_file_and_one_of_an_archive(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    assert take(tmp_path, pack(CONTENT)) == CONTENT
    packed = pack(archive(("./a", b"a" * 512), ("./boot/kernel/kernel", CONTENT), ("./b", b"")))
    assert take(tmp_path, packed, "boot/kernel/kernel") == CONTENT
    assert take(tmp_path, packed, "a") == b"a" * 512
    with pytest.raises(ArtifactCorrupt, match="packed has no file boot/loader"):
        take(tmp_path, packed, "boot/loader")


@pytest.mark.parametrize("pack", PACKERS.values(), ids=PACKERS)
def test_bombs_are_stopped(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    alone, inside = pack(bytes(6 << 20)), pack(archive(("large", bytes(6 << 20)), ("small", b"")))
    tracemalloc.start()
    for content, member in ((alone, ""), (inside, "small")):
        with pytest.raises(ArtifactCorrupt, match="more than 1 MiB"):
            take(tmp_path, content, member)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5 << 20
    assert (tmp_path / "out").stat().st_size <= MOST


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress], ids=["gzip", "bzip2", "xz"])
@pytest.mark.parametrize("damage", [lambda p: p[:-9], lambda p: p[: len(p) // 2], lambda p: p[:60] + b"xx" + p[62:]])
def test_damage_is_told(tmp_path: Path, pack: Callable[[bytes], bytes], damage: Callable[[bytes], bytes]) -> None:
    with pytest.raises(ArtifactCorrupt, match="packed is damaged"):
        take(tmp_path, damage(pack(random.Random(3).randbytes(5000))))


def test_an_xz_file_that_wants_much_memory(tmp_path: Path) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20}]
    packed = bytearray(lzma.compress(CONTENT, filters=filters))
    assert take(tmp_path, bytes(packed)) == CONTENT
    at = packed.index(bytes((lzma.FILTER_LZMA2, 1)))  # its size, as one byte, stands behind: xz-file-format.txt, 5.3.1
    packed[at + 2] = 38  # 2 GiB
    header = 4 * (packed[12] + 1)
    packed[12 + header - 4 : 12 + header] = _crc(bytes(packed[12 : 12 + header - 4]))
    with pytest.raises(ArtifactCorrupt, match=r"[Mm]emory"):
        take(tmp_path, bytes(packed))


def _crc(content: bytes) -> bytes:
    import zlib

    return zlib.crc32(content).to_bytes(4, "little")


@pytest.mark.parametrize("name", ["/boot/kernel", "../kernel", "./a/../../kernel", "a/.."])
def test_paths_that_lead_out_refuse_the_whole(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArtifactCorrupt, match="it holds the path"):
        take(tmp_path, archive((name, b""), ("kernel", CONTENT)), "kernel")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_what_is_no_plain_file_is_not_taken(tmp_path: Path, kind: bytes) -> None:
    with pytest.raises(ArtifactCorrupt, match="has no file kernel"):
        take(tmp_path, archive(("kernel", b""), type=kind, linkname="/etc/passwd"), "kernel")


def test_headers_that_ask_for_much_at_once(tmp_path: Path) -> None:
    for kind in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME):
        header = tarfile.TarInfo("long")
        header.type, header.size = kind, 12 << 20
        with pytest.raises(ArtifactCorrupt, match="at once"):
            take(tmp_path, header.tobuf(tarfile.GNU_FORMAT) + bytes(12 << 20), "long", 64 << 20)


def test_what_is_no_archive(tmp_path: Path) -> None:
    for content in (b"hello\n", b"x" * 5000, gzip.compress(b"x" * 5000)):
        with pytest.raises(UsageError, match="packed is no archive"):
            take(tmp_path, content, "kernel")
