"""The client of a server that is measured: a C program that runs in the server's own process.

Not every kernel has a second process for it, so that it is a shared object, loaded before the program (LD_PRELOAD):
``launcher/client.c`` starts the client's ``main`` in a thread of its own and, when that returns, ends the process with
what it returned.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from images.compiled import compiled
from profiler.errors import UsageError

_HERE: Final = Path(__file__).resolve().parent
_SHIM: Final = _HERE / "launcher" / "client.c"
_MARKER: Final = _HERE.parent / "probes" / "marker.h"  # a sibling folder, not an import
_FLAGS: Final = (
    "-O2", "-shared", "-fPIC", "-fno-plt", "-pthread", "-Wl,-z,now", "-Wl,--build-id=none",
    "-Dmain=weaklink_client_main", "-I.",
)  # fmt: skip


def build(source: Path, cache: Path) -> Path:
    """Give the shared object for a client: ``source`` itself if it is one, else what its C text compiles to.

    Raises ``UsageError`` for a file that is neither, and what ``compiled`` raises.
    """
    if source.suffix not in (".c", ".so") or not source.is_file():
        raise UsageError(f"{source} is no client", hint="give a C source (FILE.c) or a shared object (FILE.so)")
    if source.suffix == ".so":
        return source
    files = {"main.c": source, "shim.c": _SHIM, _MARKER.name: _MARKER}
    return compiled(str(source), files, _FLAGS, cache)
