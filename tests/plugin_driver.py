"""The plugin's C without QEMU: linked into a small driver that is asked from outside."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

UNITS = (
    "config", "context", "costly", "execute", "ledger", "results", "state", "threads", "events", "phases", "locks",
    "packets", "stacks", "switches", "names",
)  # fmt: skip
DRIVER = "plugin_driver.c", "costly_driver.c"


def build(root: Path, folder: Path, driver: Sequence[str] = DRIVER, units: Sequence[str] = UNITS) -> Path:
    """Make a driver in ``folder`` of these parts, with every check that the compiler can add at run time."""
    plugin = root / "probes" / "exec" / "plugin"
    parts = [plugin / f"{name}.c" for name in units]
    flags = ["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-fsanitize=undefined", "-fno-sanitize-recover=all"]
    sources = [root / "tests" / "unit" / name for name in (*driver, "no_qemu.c")]
    command = ["gcc", *flags, "-DWL_API=1", f"-I{plugin}", *sources, *parts, "-o", folder / "driver"]
    subprocess.run(command, check=True, timeout=60)
    return folder / "driver"


def ask(driver: Path, *arguments: object, text: str = "") -> list[str]:
    """Give the lines that the driver answers with."""
    done = subprocess.run([driver, *map(str, arguments)], input=text, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
