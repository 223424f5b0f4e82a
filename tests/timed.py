"""What a command takes: wall time, CPU time, and the most memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

WEAKLINK: Final = (sys.executable, "-m", "profiler")
# A child's peak of memory begins with what its parent has: this one has 10 MB.
_SMALL: Final = (
    "import os, sys, time\n"
    "began = time.monotonic()\n"
    "pid = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)\n"
    "_, status, usage = os.wait4(pid, 0)\n"
    "figures = time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, status\n"
    "os.write(int(sys.argv[1]), str(list(figures)).encode())\n"
)


@dataclass(frozen=True)
class Took:
    """What a process took; ``code`` is how it ended."""

    wall_s: float
    cpu_s: float
    mb: float
    code: int

    def __str__(self) -> str:
        failed = f"  exit {self.code}" if self.code else ""
        return f"{self.wall_s:6.1f} s wall {self.cpu_s:6.1f} s CPU {self.mb:7.0f} MB{failed}"


def took(argv: Sequence[str | Path], out: IO[bytes] | int = subprocess.DEVNULL) -> Took:
    """Run a command to its end; what it says goes to ``out``."""
    told, tell = os.pipe()
    with open(told, "rb") as figures:
        try:
            subprocess.run([sys.executable, "-ISc", _SMALL, str(tell), *argv], stdin=subprocess.DEVNULL, stdout=out,
                           stderr=subprocess.DEVNULL, pass_fds=[tell], check=True)  # fmt: skip
        finally:
            os.close(tell)
        wall_s, cpu_s, mb, status = json.loads(figures.read())
    return Took(wall_s, cpu_s, mb, os.waitstatus_to_exitcode(status))
