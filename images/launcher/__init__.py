"""The first process of a Linux guest that runs a program of the user's (``launcher.c``), and what it is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from images.compiled import compiled
from profiler.errors import UsageError

FILE: Final = "weaklink.launch"
"""Where a launcher reads what to start."""

LOCATE: Final = "locate"
"""The argument with which it only says where the program and its libraries are loaded."""

_MOST_WORDS: Final = 1000  # as launcher.c has room for
_MOST_BYTES: Final = (1 << 20) - 1
_HERE: Final = Path(__file__).resolve().parent
_COMMON: Final = _HERE.parent / "apps" / "common"
_MARKER: Final = _HERE.parent.parent / "probes" / "marker.h"  # a sibling folder, not an import
# At an address where no program is: else its functions could be taken for the program's.
_FLAGS: Final = (
    "-std=gnu11", "-O2", "-Wall", "-static", "-Wl,-Ttext-segment=0x70000000", "-Wl,--build-id=none", "-I.", "-Icommon",
)  # fmt: skip


def build(cache: Path) -> Path:
    """Give the launcher's ELF file; raises what ``compiled`` raises."""
    files = {
        "launcher.c": _HERE / "launcher.c", _MARKER.name: _MARKER,
        **{f"common/{name}": _COMMON / name for name in ("guest.c", "guest.h", "system.h", "linux/system.c")},
    }  # fmt: skip
    return compiled("the launcher", files, _FLAGS, cache)


def text(command: Sequence[str], environment: Mapping[str, str]) -> bytes:
    """Give what ``FILE`` holds: strings that end in a zero byte, as ``launcher.c`` reads them.

    Raises ``UsageError`` for more than it reads.
    """
    entries = [*(f"env={name}={value}" for name, value in environment.items()), *(f"arg={word}" for word in command)]
    content = b"".join(entry.encode() + b"\0" for entry in entries)
    if len(command) > _MOST_WORDS or len(environment) > _MOST_WORDS or len(content) > _MOST_BYTES:
        raise UsageError(
            f"{len(command) - 1} arguments of together {len(content)} bytes are more than a program is given",
            hint=f"give fewer than {_MOST_WORDS}, and shorter ones",
        )
    return content
