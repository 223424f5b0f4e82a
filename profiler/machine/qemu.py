"""Finding QEMU and asking it what it is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from profiler.errors import QemuMissing

PROGRAM: Final = "qemu-system-x86_64"
OVERRIDE: Final = "WEAKLINK_QEMU"
"""Environment variable naming another QEMU binary: a path, or a program in PATH."""

OLDEST: Final = (7, 2)
"""Older versions lack the plugin functions and the PVH boot that the probe and the guests rely on."""

INSTALL: Final = "apt-get install --no-install-recommends qemu-system-x86"


@dataclass(frozen=True)
class Qemu:
    """A QEMU that answered: where it is, and which version it is (``text`` is its own first line)."""

    path: Path
    version: tuple[int, int, int]
    text: str

    @property
    def release(self) -> str:
        """The version as ``7.2.22``; recordings are compared only within one of these."""
        return ".".join(map(str, self.version))


def parse_version(text: str) -> tuple[int, int, int] | None:
    """The version in what ``qemu --version`` prints, or None if it prints something else."""
    found = re.search(r"^QEMU emulator version (\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?", text, re.MULTILINE)
    if found is None:
        return None
    major, minor, micro = found.groups(default="0")
    return int(major), int(minor), int(micro)


def find() -> Qemu:
    """The QEMU to use: ``$WEAKLINK_QEMU`` or the one in PATH.

    Raises QemuMissing, with the exact way to install it, if there is none, it does not start, or it is too old.
    """
    wanted = os.environ.get(OVERRIDE) or PROGRAM
    located = shutil.which(wanted)
    if located is None:
        if wanted != PROGRAM:
            raise QemuMissing(f"{OVERRIDE} names {wanted!r}, which is not a program", hint=f"unset {OVERRIDE}")
        raise QemuMissing(f"{PROGRAM} is not in PATH", hint=f"install it as root: {INSTALL}")
    path = Path(located).resolve()
    try:
        answer = subprocess.run(
            [path, "--version"], capture_output=True, text=True, errors="replace", timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise QemuMissing(f"{path} does not start: {error}", hint=f"install it again as root: {INSTALL}") from error
    version = parse_version(answer.stdout)
    if version is None:
        said = (answer.stdout + answer.stderr).strip()[:200] or "nothing"
        raise QemuMissing(f"{path} --version says {said!r}", hint=f"install QEMU as root: {INSTALL}")
    if version[:2] < OLDEST:
        raise QemuMissing(
            f"QEMU {'.'.join(map(str, version))} is too old: {OLDEST[0]}.{OLDEST[1]} or newer is needed",
            hint=f"install a newer one, or name one in {OVERRIDE}",
        )
    return Qemu(path, version, answer.stdout.splitlines()[0].strip())
