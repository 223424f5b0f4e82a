"""docs/architecture.md, held: who may import whom, what failures look like, how long a file may be."""

from __future__ import annotations

import inspect
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from profiler import errors

PACKAGES = ("profiler", "images", "probes", "analysis")


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("lint-imports")
    return subprocess.run([program, "--no-cache"], cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def test_imports_point_one_way(root: Path) -> None:
    answer = lint_imports(root)
    assert answer.returncode == 0, answer.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("images/model.py", "import probes.events", "images knows only the failure classes"),
        ("probes/events.py", "from images import model", "probes knows only the failure classes"),
        ("probes/recording.py", "import profiler.plan", "probes knows only the failure classes"),
        ("analysis/ledger.py", "import probes.exec", "analysis reads recordings, nothing else"),
        ("profiler/errors.py", "import probes.events", "profiler.errors is a leaf"),
    ],
)
def test_the_contracts_can_break(root: Path, tmp_path: Path, module: str, line: str, contract: str) -> None:
    for package in PACKAGES:
        shutil.copytree(root / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "*.gz"))
    shutil.copy(root / "pyproject.toml", tmp_path)
    with (tmp_path / module).open("a") as file:
        file.write(f"\n{line}\n")
    answer = lint_imports(tmp_path)
    assert answer.returncode == 1, answer.stdout
    assert f"{contract} BROKEN" in " ".join(answer.stdout.split())


def failures() -> list[type[errors.WeaklinkError]]:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.WeaklinkError)]
    return [kind for kind in kinds if kind is not errors.WeaklinkError]


def test_every_failure_has_a_code_of_its_own() -> None:
    codes = [kind.exit_code for kind in failures()]
    assert sorted(codes) == sorted([*{*codes}, 3]), "3 is what cannot be compared, and what is not there to be shown"
    assert all(code in (1, 2, 3, 130) or 10 <= code < 29 for code in codes)
    assert all(kind.name != "internal error" and kind.blame for kind in failures())


def test_no_file_is_too_long_to_read(root: Path) -> None:
    listed = subprocess.run(["git", "ls-files", "*.py", "*.c", "*.h"], cwd=root, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    lengths = {
        name: len((root / name).read_text().splitlines()) for name in listed.stdout.split() if (root / name).exists()
    }
    assert {name: length for name, length in lengths.items() if length > 460} == {}
