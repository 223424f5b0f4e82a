"""The machine itself: its processor, memory and disks, the compiler, and where kernels come from."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from profiler.doctor import memory
from profiler.doctor.check import Check, State, missing
from profiler.errors import AppBuild, ToolMissing, WeaklinkError

MIB: Final = 1 << 20

CACHE_MIB: Final = 100
"""What a kernel of the distribution takes while it is fetched: measured, 56 MiB stay."""

SMALL_MIB: Final = 5
"""What the probe and the apps take: measured, 2 MiB."""

OUT_MIB: Final = 40
"""What the demo leaves: measured, 18 MiB with the files of a run under way, of three guests and three seeds."""


def checks(app: str, base: str) -> Iterator[Check]:
    """Look at the machine: ``app`` on the guest ``base`` is to run on it."""
    yield Check("host", "python", platform.python_version(), "weaklink itself")
    yield _machine()
    yield memory.check()
    yield from _cache(base)
    yield _disk(
        "disk for recordings", Path.cwd(), OUT_MIB, "recordings, which the demo puts here", "name another --out"
    )
    yield _disk("disk for temporary files", Path(tempfile.gettempdir()), 1, "QEMU's socket", "set TMPDIR")
    yield _compiler(app, base)


def _machine() -> Check:
    kind = f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs"
    if platform.system() != "Linux":
        why = ToolMissing(
            "weaklink wants Linux's tools and its /proc", hint="use a Linux machine with an x86-64 processor"
        )
        return missing("host", "machine", "weaklink itself", why)
    return Check("host", "machine", kind, "weaklink itself", required=True)


def _cache(base: str) -> Iterator[Check]:
    from images import list_guests, store

    what = "kernels, the probe, apps"
    try:
        path = store.cache_dir()
    except WeaklinkError as failure:
        yield Check("host", "cache", None, what, "missing", str(failure), failure.hint, required=True)
        return
    yield Check("host", "cache", f"{path}, {sum(_sizes(path)) / MIB:,.0f} MiB", what, required=True)
    here = any(guest.name == base and guest.state == "ready" for guest in list_guests())
    wanted = SMALL_MIB if here else CACHE_MIB
    yield _disk("disk for the cache", path, wanted, "what is compiled and fetched", "point WEAKLINK_CACHE elsewhere")


def _sizes(folder: Path) -> Iterator[int]:
    for where, _, files in os.walk(folder):
        for name in files:
            try:
                yield os.lstat(os.path.join(where, name)).st_size
            except OSError:
                continue  # gone since it was listed


def _disk(name: str, path: Path, wanted_mib: int, what: str, other: str) -> Check:
    try:
        free = shutil.disk_usage(path).free // MIB
    except OSError as error:
        return Check("host", name, None, what, "missing", f"{path}: {error.strerror}", other, required=True)
    state: State = "ok" if free >= wanted_mib else "missing"
    return Check(
        "host", name, f"{free:,} MiB free", what, state,
        "" if state == "ok" else f"{path} has room for {free:,} MiB, the demo wants {wanted_mib:,}",
        "" if state == "ok" else f"make room, or {other}", required=True,
    )  # fmt: skip


def _compiler(app: str, base: str) -> Check:
    """Whether the compiler makes what the demo runs, which takes libc and its headers too."""
    from images import GuestSpec, apps, check, compiler, store

    what = "compiling the probe and the apps"
    try:
        version = compiler.toolchain(compiler.libc("libc.a")).rpartition(" ")[0]
        if not (target := compiler.asked("-dumpmachine")).startswith("x86_64-"):
            raise ToolMissing(f"gcc makes programs for {target}, guests are x86-64", hint="use an x86-64 machine")
        apps.build(apps.load(app), check(GuestSpec(base)).runtime("").app, store.cache_dir())
    except AppBuild as failure:
        return missing("host", "compiler", what, AppBuild(str(failure), hint=compiler.INSTALL))
    except WeaklinkError as failure:
        return missing("host", "compiler", what, failure)
    except OSError as error:
        return missing("host", "compiler", what, AppBuild(f"it could not be tried: {error}"))
    return Check("host", "compiler", version, what, required=True)
