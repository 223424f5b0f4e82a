"""weaklink-dev where it cannot install anything: the exact line for whoever can, and no half set-up."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

TOOLS = ("sh", "dirname", "cat", "cut", "sha256sum", "env", "rm")


@pytest.fixture
def bare(tmp_path: Path, root: Path) -> Path:
    """A checkout, and a PATH in which nothing is installed and the user is nobody in particular."""
    for name in ("weaklink-dev", "pyproject.toml", "justfile"):
        shutil.copy(root / name, tmp_path)
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found
        (bin_ / tool).symlink_to(found)
    shim(bin_, "id", "echo 1000")
    shim(bin_, "apt-get", 'echo "$@" >>"$(dirname "$0")/../apt.log"; exit 100')
    return tmp_path


def shim(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def setup(bare: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [bare / "weaklink-dev", "test"], env={"PATH": str(bare / "bin")}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_a_user_without_rights_is_told_the_line(bare: Path) -> None:
    answer = setup(bare)
    assert answer.returncode == 10
    line = answer.stderr.splitlines()[-1].strip()
    assert line.startswith("apt-get update && apt-get install -y --no-install-recommends qemu-system-x86 gcc")
    assert not (bare / "apt.log").exists()
    assert not (bare / ".venv").exists()


def test_sudo_is_used_only_where_it_asks_nothing(bare: Path) -> None:
    shim(bare / "bin", "sudo", '[ "$1" = -n ] || exit 97; shift; exec "$@"')
    shim(bare / "bin", "true", "exit 0")
    answer = setup(bare)
    assert answer.returncode == 10
    calls = (bare / "apt.log").read_text().splitlines()
    assert [call.split()[0] for call in calls] == ["install", "update"], "the lists are refreshed only after a failure"
    assert "installing system packages: qemu-system-x86 gcc" in answer.stderr
    assert "apt-get could not install them; the command was: apt-get install" in answer.stderr


def test_sudo_that_would_ask_is_left_alone(bare: Path) -> None:
    shim(bare / "bin", "sudo", "exit 1")
    assert setup(bare).returncode == 10
    assert not (bare / "apt.log").exists()
