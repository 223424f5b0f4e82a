"""What measuring on the real processor would need.  weaklink does not do that yet, and nothing here stops anything."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib import metadata, util
from pathlib import Path
from typing import Final

from profiler.doctor import kvm
from profiler.doctor.check import Check
from profiler.doctor.kvm import WHAT
from profiler.machine.qemu import Qemu

_SYSTEM: Final = Path("/usr/lib/python3/dist-packages/bcc")
"""Where Debian's python3-bpfcc puts it."""


def checks(qemu: Qemu | None, base: str, progress: Callable[[str], None]) -> Iterator[Check]:
    """Look for it."""
    yield kvm.check(qemu, base, progress)
    yield _bcc()
    yield _headers()
    yield _py_spy()


def _bcc() -> Check:
    """The tracer's Python module: the registry's package of that name is another thing."""
    found = util.find_spec("bcc")
    here = Path(found.origin).parent if found and found.origin else None
    if here and (here / "libbcc.py").exists():
        return Check("native", "bcc", str(here), WHAT)
    if here:
        return _none("bcc", f"{here} is another package of that name", "apt-get install python3-bpfcc")
    if _SYSTEM.exists():
        return _none("bcc", f"{_SYSTEM} is here, but this Python does not look there",
                     "make the venv with /usr/bin/python3 -m venv --system-site-packages")  # fmt: skip
    return _none("bcc", "not installed", "apt-get install python3-bpfcc")


def _headers() -> Check:
    """The running kernel's headers, from which bcc compiles."""
    release = os.uname().release
    for place in (Path("/lib/modules", release, "build"), Path("/sys/kernel/kheaders.tar.xz")):
        if place.exists():
            return Check("native", "kernel headers", str(place), WHAT)
    return _none("kernel headers", f"none of {release}", f"apt-get install linux-headers-{release}, where it exists")


def _py_spy() -> Check:
    program = shutil.which("py-spy") or shutil.which("py-spy", path=str(Path(sys.executable).parent))
    if program is None:
        return _none("py-spy", "not installed", "pip install py-spy")
    try:
        return Check("native", "py-spy", f"{program}, {metadata.version('py-spy')}", WHAT)
    except metadata.PackageNotFoundError:  # of another Python, or no Python's
        return Check("native", "py-spy", program, WHAT)


def _none(name: str, reason: str, remedy: str) -> Check:
    return Check("native", name, None, WHAT, "missing", reason, remedy)
