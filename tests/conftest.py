"""What all tests share."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.machine_code import Assemble, function

SmallDisk = Callable[[Path, str], Path]

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """The top of the repository."""
    return ROOT


@pytest.fixture
def assemble(tmp_path: Path) -> Assemble:
    """Assembly text in, the code of one function and its size out: see ``tests.machine_code.function``."""
    return partial(function, tmp_path)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache that this process and its children use instead of the user's."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("WEAKLINK_CACHE", str(folder))
    return folder


@pytest.fixture
def small_disk() -> Iterator[SmallDisk]:
    """Mounts a real file system of a size (as in ``64k``) on a folder; skips the test where that is not allowed."""
    mounted: list[Path] = []

    def mount(folder: Path, size: str) -> Path:
        folder.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "weaklink-test", str(folder)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("mounting a small file system is not allowed here")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)
