"""The C compiler of this machine: run in a folder, with a limit of time, and in the same words whoever asks."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache as memoised
from pathlib import Path
from typing import Final

from images.store import disk_full, sha256_file
from profiler.errors import AppBuild, ToolMissing, no_room

COMPILER: Final = "gcc"
INSTALL: Final = "install it as root: apt-get install gcc libc6-dev"
SECONDS: Final = 600
"""How long one command may take: the largest source, SQLite's, takes half a minute on a machine that is free."""

_LINES: Final = 8
_LONGEST: Final = 200


def run(command: Sequence[str], folder: Path, what: str, *, hint: str = "", seconds: float = SECONDS) -> str:
    """Run a compiler command in ``folder`` and give what it prints.

    ``what`` is compiled, for messages, ``hint`` what to do where it does not compile.  Raises ``AppBuild`` with the
    compiler's first lines, or if it takes longer than ``seconds``; ``DiskFull`` if it says that of a disk, which is the
    folder's or that of temporary files; ``ToolMissing`` if it cannot be run.
    """
    environment = {**os.environ, "LC_ALL": "C", "SOURCE_DATE_EPOCH": "0"}
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8",
            errors="replace", timeout=seconds, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise AppBuild(f"compiling {what} took more than {seconds:.0f} s", hint="look at the source") from error
    except FileNotFoundError as error:
        raise ToolMissing(f"{command[0]} is not installed", hint=INSTALL) from error
    except OSError as error:
        raise ToolMissing(f"{command[0]} cannot be run: {error.strerror}", hint=INSTALL) from error
    if done.returncode and no_room(done.stderr):
        raise disk_full(min((folder, Path(tempfile.gettempdir())), key=lambda place: shutil.disk_usage(place).free))
    if done.returncode:
        lines = (done.stderr.strip() or f"{command[0]} ended with {done.returncode}").splitlines()
        first = "\n".join(line[:_LONGEST] for line in lines[:_LINES])
        raise AppBuild(first, hint=hint or f"{what} does not compile here")
    return done.stdout


@memoised
def asked(question: str) -> str:
    """Give what the compiler answers to an option; ``ToolMissing`` without one."""
    return run([COMPILER, question], Path.cwd(), question).strip()


def libc(name: str) -> Path:
    """Give the place of its own libc, as in libc.a, that the compiler would link."""
    return Path(asked(f"-print-file-name={name}"))


def toolchain(linked: Path | None = None) -> str:
    """Name the compiler, and by its digest the libc that is linked: an update of either changes what is made.

    Raises ``ToolMissing`` if one of them is not there.
    """
    version = asked("--version").splitlines()[0]
    if linked is None:
        return version
    if not linked.is_absolute() or not linked.is_file():
        raise ToolMissing(f"the libc {linked.name} is not installed", hint=INSTALL)
    return f"{version} {sha256_file(linked)}"
