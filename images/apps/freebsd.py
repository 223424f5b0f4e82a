"""How a C program is made for FreeBSD with this machine's gcc: the headers and libraries of a FreeBSD base system.

The ABI is the same, so the app's own code is compiled by the very compiler that makes it for Linux; only what it
includes, what it calls and the first code that runs are FreeBSD's.  The result is static and linked in place.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from images import compiler

HEADERS: Final = "usr/include"
LIBRARIES: Final = "usr/lib"
PARTS: Final = (
    "crt1.o", "crti.o", "crtbeginT.o", "crtend.o", "crtn.o", "libc.a", "libsys.a", "libthr.a", "libm.a",
    "libcompiler_rt.a",
)  # fmt: skip
"""What is linked from ``usr/lib``; FreeBSD 14 and older have no libsys.a, whose content is in their libc.a."""

OPTIONAL: Final = frozenset({"libsys.a"})

_VERSION: Final = re.compile(rb"^#define\s+__FreeBSD_version\s+(\d{6,7})\b", re.MULTILINE)
_NOT_LINUX: Final = ("__linux__", "__linux", "linux", "__gnu_linux__")


def version(sysroot: Path) -> int:
    """Give __FreeBSD_version, as 1501000 of FreeBSD 15.1; OSError if there are no headers, 0 if they do not say it."""
    return version_in((sysroot / HEADERS / "sys/param.h").read_bytes())


def version_in(header: bytes) -> int:
    """Give __FreeBSD_version of the content of sys/param.h, 0 if it has none."""
    found = _VERSION.search(header)
    return int(found[1]) if found else 0


def flags(sysroot: Path) -> list[str]:
    """Give the words for compiling and linking.  No name of a folder here gets into the result.

    gcc's own headers are searched last, for what is the CPU's and not the system's.
    """
    own = compiler.asked("-print-file-name=include")
    words = ["-nostdinc", "-isystem", f"{sysroot / HEADERS}", "-idirafter", own]
    words += [f"-ffile-prefix-map={sysroot}=/freebsd", f"-ffile-prefix-map={own}=/gcc"]
    words += [f"-U{name}" for name in _NOT_LINUX]
    words += [f"-D__FreeBSD__={version(sysroot) // 100_000}", "-U_FORTIFY_SOURCE", "-fno-stack-protector"]
    return [*words, "-static", "-fno-pie", "-no-pie"]


def link(sysroot: Path, objects: Sequence[str]) -> list[str]:
    """Give the words, after ``flags``, that link ``objects`` with FreeBSD's libraries instead of this machine's."""
    folder = sysroot / LIBRARIES
    parts = {name: str(folder / name) for name in PARTS if name not in OPTIONAL or (folder / name).exists()}
    libraries = [path for name, path in parts.items() if name.endswith(".a")]
    first = [parts[name] for name in ("crt1.o", "crti.o", "crtbeginT.o")]
    last = [parts[name] for name in ("crtend.o", "crtn.o")]
    return ["-nostdlib", *first, *objects, "-Wl,--start-group", *libraries, "-Wl,--end-group", *last]
