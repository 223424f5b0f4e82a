"""What of an app's folder is taken: plain files of plain names that lie in it, and not too much of them.

A folder may be somebody else's.  What links lead out of it to is not read, nor are pipes and devices.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Final

from profiler.errors import AppBuild

SUFFIXES: Final = (".c", ".h", ".S")
PLAIN: Final = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_.+-]*/)*[A-Za-z0-9_][A-Za-z0-9_.+-]*")
"""Names that no compiler takes for an option, and no shell, log or archive for something else."""
MOST_BYTES: Final = 64 << 20
MOST_FILES: Final = 2_000
_MOST_ENTRIES: Final = 20_000


def trouble(folder: Path, name: str, most: int = MOST_BYTES) -> str:
    """Say why ``name`` below ``folder`` cannot be read as a file of up to ``most`` bytes; empty if it can."""
    path = folder / name
    try:
        real = path.resolve(strict=True)
        if not real.is_relative_to(folder.resolve(strict=True)):
            return "leads out of the folder"
        found = real.stat()
        if not stat.S_ISREG(found.st_mode):
            return "is not a plain file"
        if found.st_size > most:
            return f"has {found.st_size:,} bytes, more than {most:,}"
        with real.open("rb"):
            return ""
    except (FileNotFoundError, NotADirectoryError):
        return "is not there"
    except RuntimeError:  # a loop of links, until Python 3.13
        return "is a link to itself"
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def sources(folder: Path) -> dict[str, Path]:
    """Give the C, assembler and header files below ``folder`` by their paths relative to it.

    What is hidden is left out.  Raises ``AppBuild`` for a file that cannot be taken, and where there are too many.
    """
    found: dict[str, Path] = {}
    entries = size = 0
    for here, below, names in os.walk(folder):
        below[:] = sorted(name for name in below if not name.startswith("."))
        entries += len(below) + len(names)
        for name in names:
            if not name.endswith(SUFFIXES) or name.startswith("."):
                continue
            path = Path(here, name)
            relative = str(path.relative_to(folder))
            why = trouble(folder, relative) if PLAIN.fullmatch(relative) else (
                "has a name of other characters than letters, digits and _ . + -")  # fmt: skip
            if why:
                printed = "".join(letter if letter.isprintable() else "?" for letter in relative)[:100]
                raise AppBuild(f"{folder}: {printed} {why}", hint="take it out of the app's folder")
            found[relative] = path
            size += path.stat().st_size
        if entries > _MOST_ENTRIES or len(found) > MOST_FILES or size > MOST_BYTES:
            raise AppBuild(
                f"{folder} holds too much for an app: more than {_MOST_ENTRIES:,} files, {MOST_FILES:,} sources or"
                f" {MOST_BYTES:,} bytes of them",
                hint="give the app a folder of its own",
            )
    return found
