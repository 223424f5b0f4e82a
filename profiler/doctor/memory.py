"""How much memory this process and its QEMU can have: the machine's, the cgroup's, the address space's."""

from __future__ import annotations

import re
import resource
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from profiler.doctor.check import Check

MIB: Final = 1 << 20

WANTED_MIB: Final = 600
"""What the demo needs: measured, 484 MiB at most of QEMU and weaklink together, and what is around them."""

ADDRESSES_MIB: Final = 5000
"""The address space that QEMU asks for with the probe: measured, 4,377 MiB, most of it never touched."""

_WHAT: Final = "QEMU and weaklink together"


def check(meminfo: Path = Path("/proc/meminfo"), cgroups: Path = Path("/proc/self/cgroup"),
          mounted: Path = Path("/sys/fs/cgroup")) -> Check:  # fmt: skip
    """Whether there is enough, and who would have to give more."""
    free = {"this machine": _machine(meminfo), **dict(_groups(cgroups, mounted))}
    whose = min(free, key=lambda name: free[name])
    said = f"{free[whose]:,} MiB free"
    if free[whose] < WANTED_MIB:
        return Check("host", "memory", said, _WHAT, "missing", f"{whose} lets it have no more",
                     f"end what else needs memory, or raise the limit of {whose}", required=True)  # fmt: skip
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    if most != resource.RLIM_INFINITY and most // MIB < ADDRESSES_MIB:
        return Check("host", "memory", f"{most // MIB:,} MiB of addresses", _WHAT, "missing",
                     f"`ulimit -v` is {most >> 10}; QEMU reserves {ADDRESSES_MIB:,} MiB, of which it uses little",
                     "ulimit -v unlimited", required=True)  # fmt: skip
    return Check("host", "memory", said, _WHAT, required=True)


def _machine(meminfo: Path) -> int:
    """MiB that can be had without taking them from others, swap included."""
    found = dict(re.findall(r"^(\w+):\s+(\d+) kB$", meminfo.read_text(), re.MULTILINE))
    return (int(found["MemAvailable"]) + int(found.get("SwapFree", "0"))) >> 10


def _groups(cgroups: Path, mounted: Path) -> Iterator[tuple[str, int]]:
    """The limits of this process's control groups and of those around them, of both versions: (which, MiB left)."""
    try:
        lines = cgroups.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, place = line.split(":", 2)
        if controllers == "memory":
            root, limit, used, cache = mounted / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"
        elif not controllers:
            root, limit, used, cache = mounted, "memory.max", "memory.current", ""
        else:
            continue
        for inner in (PurePosixPath(place), *PurePosixPath(place).parents):
            group = root / inner.relative_to("/")
            try:
                most, now = (group / limit).read_text(), int((group / used).read_text())
                stat = (group / "memory.stat").read_text()
            except (OSError, ValueError):
                continue  # the root has none, a container may not see those outside
            files = re.search(rf"^{cache}inactive_file (\d+)$", stat, re.MULTILINE)
            if most.strip() != "max" and int(most) < 1 << 60:
                yield f"the control group {inner}", (int(most) - now + int(files[1] if files else 0)) // MIB
