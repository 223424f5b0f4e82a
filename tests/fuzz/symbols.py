"""Kernels, programs and lists of symbols that somebody else has built: what do all that read them make of them?

``target`` takes small ones, made here; ``kernels`` the real ones of the cache.
"""

from __future__ import annotations

import contextlib
import gzip
import lzma
import os
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import zstandard

from images import added, decompress, elf, identify, libraries, store
from images.guests.osv import linked
from images.model import Given
from probes import names, objects
from probes.exec import configure
from probes.exec.disassembly import Code
from probes.maps import audit
from probes.symbols import SymbolTable, find_data
from profiler.errors import WeaklinkError
from tests import machine_code
from tests.fuzz.harness import Files, Random, Target, told
from tests.fuzz.mutate import BYTES, HOSTILE, bits, number, one
from tests.unit import test_added, test_exec_configure, test_freebsd_guest, test_osv_guest
from tests.unit.test_guests import bzimage, lz4_legacy

FILE: Final = "kernel"
KINDS: Final = ("linux", "osv", "freebsd")
LARGEST_READ: Final = 4 << 20
"""Of larger files not everything is tried: that would take minutes."""
HEADERS: Final = {"segment": (32, 54, 56, 56), "section": (40, 58, 60, 64)}
"""Where an ELF header says where they are, their size, and their number; their size as it has to be."""


def header(data: bytes, random: Random) -> bytes:
    """A field of a header, or of one of the tables that it points at, is what somebody may not have thought of."""
    damaged = bytearray(data)
    if len(data) < 64 or not data.startswith(elf.MAGIC):
        return bits(data, random)
    for _ in range(int(random.integers(1, 4))):
        at, size = int(random.integers(16, 64)), int(random.choice([1, 2, 4, 8]))
        kind = one(random, [None, *HEADERS])
        if kind is not None:
            place, _, count, length = HEADERS[kind]
            begin, many = struct.unpack_from("<Q", data, place)[0], struct.unpack_from("<H", data, count)[0]
            at, size = begin + length * int(random.integers(0, many + 1)), 8
            at += 8 * int(random.integers(0, length // 8)) + 4 * int(random.integers(0, 2))
        if at + size <= len(damaged):
            damaged[at : at + size] = (number(random) % (1 << 8 * size)).to_bytes(size, "little")
    return bytes(damaged)


def _symbols(data: bytes, random: Random) -> bytes:
    """A field of a table of symbols is another one, or its names are."""
    damaged = bytearray(data)
    with contextlib.suppress(WeaklinkError):
        for section in elf.Elf(data)._sections:
            begin, length = section[4], section[5]
            if section[1] in (2, 11) and length >= 24 and begin + length <= len(data) and random.random() < 0.7:
                at = begin + 24 * int(random.integers(0, length // 24)) + one(random, (0, 4, 6, 8, 16))
                damaged[at : at + 8] = (number(random) % (1 << 64)).to_bytes(8, "little")
            elif section[1] == 3 and length and begin + length <= len(data) and random.random() < 0.5:
                text = one(random, HOSTILE).encode("utf-8", "surrogatepass")[:length]
                at = begin + int(random.integers(0, length - len(text) + 1))
                damaged[at : at + len(text)] = text
    return bytes(damaged[: len(data)])


def _lines(data: bytes, random: Random) -> bytes:
    """A list of symbols of which some lines are others."""
    lines = data.split(b"\n")
    for _ in range(int(random.integers(1, 9))):
        name = one(random, (one(random, HOSTILE).encode("utf-8", "surrogatepass"), b"_text", b"_etext", b"vfs_read"))
        address = number(random) % (1 << one(random, (64, 72, 16)))
        lines[int(random.integers(0, len(lines)))] = b"%x %s %s" % (
            address,
            one(random, (b"T", b"t", b"0 T", b"A", b"")),
            name,
        )
    return b"\n".join(lines) * (one(random, (1, 1, 1, 50)) if len(data) < 1 << 16 else 1)


def mutate(data: bytes, random: Random) -> bytes:
    """The same file, damaged."""
    ways: list[Callable[[bytes, Random], bytes]] = [*BYTES]
    if data.startswith(elf.MAGIC):
        ways += [header] * 6 + [_symbols] * 4
    elif b"\0" not in data:
        ways += [_lines] * 6
    for _ in range(int(random.integers(1, 3))):
        data = one(random, ways)(data, random) if data else data
    return data


# -- what is made of it -----------------------------------------------------------------------------------------------


def check(_: object, files: Files, place: Path) -> bool:
    """Give it to all that read such files; whether one of them could."""
    path = place / FILE
    path.write_bytes(files[FILE])
    os.environ["WEAKLINK_CACHE"] = str(place / "cache")
    read = 0
    for reader in _readers(path, place):
        try:
            reader()
            read += 1
        except WeaklinkError as error:
            told(error)
    left = {entry.name for entry in place.iterdir()}
    assert left <= {FILE, "cache", "probe.conf"}, left
    return read > 1  # to say what kind of file it is works always


def _readers(path: Path, place: Path) -> Iterator[Callable[[], object]]:
    data = path.read_bytes()
    yield lambda: _said(identify.what(data[: identify.HEAD]))
    yield lambda: _table(SymbolTable.load(path))
    yield lambda: objects.load(path).lookup([0, 1 << 63])
    yield lambda: find_data(path, "variable")
    yield lambda: _whole(elf.Elf(data))
    yield lambda: decompress.elf_of_bzimage(data)
    yield lambda: _code(Code(path))
    if len(data) > LARGEST_READ:
        return
    for kind in KINDS:
        yield lambda kind=kind: added.add("mine", kind, Given(path), replacing=True, progress=lambda line: None)
        yield lambda kind=kind: added.add("mine", kind, Given(path, path), replacing=True, progress=lambda line: None)
    yield lambda: libraries.libraries(path)
    yield lambda: linked.placed(path, None, {})
    yield lambda: audit.of_kernel(path, "src")
    for kind in KINDS:
        yield lambda kind=kind: configure.write(
            place / "probe.conf", kind=kind, kernel_elf=path, kernel_symbols=path,
            user=[configure.UserCode(path, 0, None)], libc_in_kernel=kind == "osv", operations={"read": "read"},
            syscalls={"newfstatat": "fstatat"}, results={}, kernel_layers=lambda names: ["vfs"] * len(names),
        )  # fmt: skip


def _said(text: str) -> None:
    assert text.isprintable(), ascii(text)
    assert len(text) < 200, text


def _table(table: SymbolTable) -> None:
    assert len(table.lookup(np.array([0, 1 << 63, (1 << 64) - 1], dtype=np.uint64))) == 3
    for name in table.names[:2000]:
        assert name.isprintable(), ascii(name)
        assert len(name.encode()) <= 4000
        _said(names.readable(name)[:199])
    table.moved(0x1000).pieces()


def _whole(file: elf.Elf) -> None:
    _said(identify.system(file))
    _said(identify.instead(file))
    file.symbols()
    assert len(file.build_id) <= 2 << 20
    file.memory(1 << 63, 64)


def _code(code: Code) -> None:
    for start, end in code.executable[:4]:
        list(code.listing(start, min(end - start, 4096)))
        code.cases(start, 4096)
        code.words(start, 4096)


# -- samples ----------------------------------------------------------------------------------------------------------


def _compiled(work: Path) -> list[bytes]:
    """What a compiler here makes: a kernel's entry code, a program, a library, all with debugging information."""
    if not shutil.which("gcc"):
        return []
    found = [machine_code.kernel(work, test_exec_configure.KERNEL).read_bytes()]
    (work / "p.c").write_text(
        "int variable = 1; static int inner(int x) { return x + variable; }\n"
        "int exported(int x) { return inner(x) * 2; }\nint main(void) { return exported(1); }\n"
    )
    for name, flags in (("program", ["-g"]), ("library", ["-shared", "-fPIC", "-Wl,-soname,libx.so.1"])):
        subprocess.run(["gcc", "-O1", *flags, "-o", work / name, work / "p.c"], check=True, capture_output=True)
        found.append((work / name).read_bytes())
    return found


def target(work: Path) -> Target:
    """Cases of kernels in small, alone and packed, of programs, and of lists of symbols."""
    small = test_added.kernel(names=test_added.NAMES)
    kernels = [small, test_osv_guest.kernel(), test_freebsd_guest.kernel()]
    packed = [bzimage(pack(small)) for pack in (lz4_legacy, gzip.compress, lzma.compress, zstandard.compress)]
    listings = [test_added.listing().encode(), b"0000000000001000 0000000000000010 T a\n0000000000001010 B b\n" * 3]
    samples = [*kernels, *_compiled(work), *packed, *listings]

    def make(random: Random) -> tuple[None, Files]:
        return None, {FILE: mutate(one(random, samples), random)}

    return Target(make, check)


def kernels(_: Path) -> Target | None:
    """Cases of the kernels that are in the cache, and of their lists of symbols."""
    homes = sorted((store.cache_dir() / "kernels").glob("*"))
    paths = [path for home in homes for name in ("vmlinux", "System.map", "kernel.elf", "symbols.elf")
             if (path := home / name).is_file()]  # fmt: skip
    samples = [path.read_bytes() for path in paths]

    def make(random: Random) -> tuple[Any, Files]:
        return None, {FILE: mutate(one(random, samples), random)}

    return Target(make, check) if samples else None
