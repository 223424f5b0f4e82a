"""QEMU, and what its plugin interface lets the probe see."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from profiler.doctor.check import Check, missing
from profiler.errors import ProbeLoad, WeaklinkError
from profiler.machine import qemu

_SECONDS: Final = 20
_OURS: Final = "weaklink-exec: "
"""How the probe's own words begin."""


def checks() -> tuple[qemu.Qemu | None, list[Check]]:
    """QEMU, if there is one that can be used, and what was found of it."""
    what = "running the guests"
    try:
        found = qemu.find()
    except WeaklinkError as failure:
        return None, [missing("qemu", "version", what, failure)]
    about = [
        Check("qemu", "version", found.text.removeprefix("QEMU emulator version "), what, required=True),
        Check("qemu", "path", str(found.path), what),
    ]
    return found, [*about, *_probe(found)]


def _probe(found: qemu.Qemu) -> Iterator[Check]:
    """Whether the probe compiles and this QEMU takes it, and what it can see there."""
    from images import store
    from probes.exec import build, capabilities

    what = "counting what a guest executes"
    try:
        plugin = build.plugin(found.version, store.cache_dir())
        _loaded(found, plugin)
        yield Check("probe", "plugin", f"{plugin.name}, loads", what, required=True)
    except WeaklinkError as failure:
        yield missing("probe", "plugin", what, failure)
    for name, entry in capabilities.of_qemu(found.path, found.version).items():
        able = bool(entry["available"])
        yield Check(
            "probe", name, str(entry.get("value", "yes")) if able else None, "data in a recording",
            "limited" if entry["reason"] else "ok", entry["reason"],
        )  # fmt: skip


def _loaded(found: qemu.Qemu, plugin: Path) -> None:
    """Have QEMU load the probe without a guest; it then says what it lacks and goes.  Raises ``ProbeLoad``."""
    place = str(plugin).replace(",", ",,")
    command = [str(found.path), "-nodefaults", "-display", "none", "-M", "none", "-plugin", f"file={place}"]
    try:
        said = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=_SECONDS,
            check=False,
        ).stderr  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        raise ProbeLoad(f"QEMU could not be tried with it: {error}") from error
    if _OURS not in said:
        raise ProbeLoad(
            f"QEMU refuses it: {(said.strip() or 'without a word').splitlines()[-1][:300]}", hint=ProbeLoad.ways[1]
        )
