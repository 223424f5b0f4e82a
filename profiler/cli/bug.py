"""What is kept of an error that nobody foresaw, so that it can be reported without being caused once more."""

from __future__ import annotations

import platform
import shlex
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from profiler import __version__
from profiler.errors import WeaklinkError, shown

NAME: Final = "bug.txt"


def keep(error: BaseException, argv: Sequence[str]) -> Path | None:
    """Write down in the cache, instead of the last one, where an error came from; None if that cannot be written."""
    from images import store

    lines = [
        f"weaklink {__version__}, Python {platform.python_version()}, {platform.platform()}",
        f"weaklink {shlex.join(argv)}  (in {Path.cwd()})",
        "",
        *traceback.format_exception(error),
    ]
    try:
        path = store.cache_dir() / NAME
        path.write_text(shown("\n".join(lines)), encoding="utf-8", errors="replace")
    except (WeaklinkError, OSError) as failure:
        print(f"weaklink: where it happened cannot be written down: {failure}", file=sys.stderr)
        return None
    return path
