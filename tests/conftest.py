"""What all tests share."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from tests.machine_code import Assemble, function

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
