"""Registers of the guest: read where QEMU keeps them, once that place is known for sure, and else by its stub."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler on this machine")

READINGS = 5000


@pytest.fixture(scope="module")
def driver(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    built, plugin = tmp_path_factory.mktemp("guest") / "driver", root / "probes" / "exec" / "plugin"
    sources = [root / "tests" / "unit" / "guest_driver.c", plugin / "guest.c"]
    flags = ["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined", "-rdynamic"]
    subprocess.run(["gcc", *flags, f"-I{plugin}", *sources, "-o", built], check=True, timeout=60)
    return built


@pytest.mark.parametrize(
    ("where", "by_the_stub"),
    [("once", range(1, 400)), *((where, range(READINGS, 2 * READINGS)) for where in ("twice", "nowhere", "later"))],
)
def test_every_reading_is_right(driver: Path, where: str, by_the_stub: range) -> None:
    done = subprocess.run([driver, where, str(READINGS)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    right, asked = map(int, done.stdout.split())
    assert right == READINGS
    assert asked in by_the_stub
