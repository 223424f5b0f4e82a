"""What all tests with real guests need."""

from __future__ import annotations

import shutil

import pytest

from profiler.machine import qemu


@pytest.fixture(scope="session", autouse=True)
def _qemu() -> None:
    """The emulator, which anybody may have to install first."""
    if shutil.which(qemu.PROGRAM) is None:
        pytest.skip(f"no {qemu.PROGRAM} on this machine")
