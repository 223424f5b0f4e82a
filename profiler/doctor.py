"""What this machine can do: each thing that is needed or can be had, and the reason where it is not."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from profiler.errors import ToolMissing, WeaklinkError
from profiler.machine import qemu

INSTALL: Final = "apt-get install --no-install-recommends qemu-system-x86 gcc libc6-dev"


@dataclass(frozen=True)
class Finding:
    """One line: ``value`` is None if it cannot be had, and then ``reason`` says why; ``failure`` if it is needed."""

    area: str
    name: str
    value: str | None
    reason: str = ""
    failure: WeaklinkError | None = None


def examine() -> list[Finding]:
    """Look at everything.  What is missing is a finding, not an exception."""
    found = [Finding("host", "python", platform.python_version()), Finding("host", "machine", _machine())]
    for name, why in (("gcc", "compiles the probe and the apps"), ("apt-get", "fetches kernels of the distribution")):
        found.append(_tool(name, why))
    found.append(Finding("host", "kvm", None, "not used: exact mode counts instructions under TCG"))
    found.append(_cache())
    try:
        emulator = qemu.find()
    except WeaklinkError as failure:
        found.append(Finding("qemu", "version", None, f"{failure}; {failure.hint}", failure))
        return found
    found.append(Finding("qemu", "version", emulator.release, emulator.text))
    found.append(Finding("qemu", "path", str(emulator.path)))
    found.extend(_probe(emulator))
    return found


def _machine() -> str:
    return f"{platform.machine()}, {os.cpu_count()} CPUs, {sys.platform}"


def _tool(name: str, why: str) -> Finding:
    path = shutil.which(name)
    if path is not None:
        return Finding("host", name, path, why)
    failure = ToolMissing(f"{name} is not in PATH; it {why}", hint=f"install it as root: {INSTALL}")
    return Finding("host", name, None, f"{failure}; {failure.hint}", failure)


def _cache() -> Finding:
    from images import store

    try:
        path = store.cache_dir()
    except WeaklinkError as failure:
        return Finding("host", "cache", None, f"{failure}; {failure.hint}", failure)
    return Finding("host", "cache", str(path), f"{sum(_sizes(path)) / 2**20:,.0f} MiB")


def _sizes(folder: Path) -> Iterator[int]:
    for where, _, files in os.walk(folder):
        for name in files:
            try:
                yield os.lstat(os.path.join(where, name)).st_size
            except OSError:
                continue  # gone since it was listed


def _probe(emulator: qemu.Qemu) -> list[Finding]:
    """Whether the probe builds, and its table for this QEMU."""
    from images import store
    from probes.exec import build, capabilities

    try:
        built = Finding("probe", "plugin", build.plugin(emulator.version, store.cache_dir()).name, "builds")
    except WeaklinkError as failure:
        built = Finding("probe", "plugin", None, f"{failure}; {failure.hint}", failure)
    table = capabilities.of_qemu(emulator.path, emulator.version)
    return [built] + [
        Finding("probe", name, str(entry.get("value", "yes")) if entry["available"] else None, entry["reason"])
        for name, entry in table.items()
    ]
