"""What an app can be built for: data, a ``Target`` each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from profiler.errors import UsageError


@dataclass(frozen=True)
class Target:
    """How a program is made that a guest's runtime can start.

    ``system`` names the sources that are added for it.  ``flags`` are given when compiling and when linking, ``link``
    when linking only, ``libraries`` behind what is linked.  ``libc`` is the file whose change means another program:
    the compiler's own, or below the sysroot where one is needed.  ``dynamic``: it needs its libraries in the guest.
    """

    name: str
    system: str
    flags: tuple[str, ...]
    link: tuple[str, ...]
    libc: str
    libraries: tuple[str, ...] = ()
    dynamic: bool = False
    sysroot: bool = False


# The same bits wherever they are built.
_PLAIN: Final = "-Wl,--build-id=none"
# What C has beside libc, for those who call it.
_MATHS: Final = ("-Wl,--as-needed", "-lm")

TARGETS: Final[Mapping[str, Target]] = {
    target.name: target
    for target in (
        # Linked in place (no -static-pie): addresses are the ELF's on every guest.
        Target("linux-static", "linux", ("-static",), (_PLAIN,), "libc.a", _MATHS),
        # Nothing is bound in a window, and calls go to libc itself, not through a stub that is neither's.
        Target("linux-pie", "linux", ("-fPIE", "-fno-plt"), ("-pie", "-Wl,-z,now", _PLAIN), "libc.so.6", _MATHS, True),
        # Static and linked in place as linux-static is; how, is in images.apps.freebsd.
        Target("freebsd-static", "freebsd", (), (_PLAIN,), "usr/lib/libc.a", sysroot=True),
    )
}


def named(name: str) -> Target:
    """Give the target ``name``; ``UsageError`` names those that there are."""
    if name not in TARGETS:
        raise UsageError(f"there is no target {name!r}", hint=f"targets: {', '.join(TARGETS)}")
    return TARGETS[name]
