"""The command line from outside: how fast it starts, what it says, how it ends."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from profiler import __version__
from profiler.cli import main as cli
from profiler.cli.main import main
from profiler.errors import GuestPanic, QemuMissing


def weaklink(root: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "profiler", *arguments], cwd=root, capture_output=True, text=True, timeout=60,
        env={**os.environ, **environment}, check=False,
    )  # fmt: skip


def test_help_takes_less_than_150_ms(root: Path) -> None:
    weaklink(root, "--help")  # compiles the bytecode

    def once() -> float:
        before = os.times()
        weaklink(root, "--help")
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    assert min(once() for _ in range(5)) < 0.150, "CPU seconds: see what was imported with -X importtime"


@pytest.mark.parametrize(
    "verb",
    [
        "run",
        "verify",
        "explain",
        "report",
        "top",
        "syscalls",
        "switches",
        "locks",
        "waits",
        "events",
        "packets",
        "guests",
        "maps",
        "doctor",
        "demo",
    ],
)
def test_every_verb_explains_itself_without_heavy_imports(root: Path, verb: str) -> None:
    code = (
        "import sys; from profiler.cli.main import main; code = main(sys.argv[1:]); "
        "heavy = {'pandas', 'pyarrow', 'plotly', 'numpy', 'rich', 'pexpect'} & set(sys.modules); "
        "assert not heavy, heavy; sys.exit(code)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code, verb, "--help"], cwd=root, capture_output=True, text=True, timeout=60, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith(f"usage: weaklink {verb}")


def test_the_version(root: Path) -> None:
    assert weaklink(root, "--version").stdout == f"weaklink {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [], ["dance"], ["run"], ["run", "tour"], ["run", "tour", "--guests", "linux"],
        ["run", "tour", "--guests", "linux", "--out", "/nonexistent/x", "--seeds", "none"],
        ["run", "tour", "--guests", "Linux!", "--out", "/nonexistent/x"],
        ["run", "tour", "--guests", "linux", "--out", "/nonexistent/x", "--limit", "-1"],
        ["run", "tour", "--guests", "linux,nosuch", "--out", "/nonexistent/x"],
        ["run", "tour", "--guests", "linux,linux+console=ttyS1", "--out", "/nonexistent/x"],
        ["run", "tour", "--guests", "linux:nosuch", "--out", "/nonexistent/x"],
        ["run", "tour", "--guests", "linux", "--out", "/nonexistent/x", "--mode", "sloppy"],
        ["verify", "/nonexistent"], ["explain", "/nonexistent", "--against", "linux"], ["report", "/nonexistent"],
    ],
)  # fmt: skip
def test_what_is_not_understood_is_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("weaklink: usage: ")
    assert "\n  -> " in said.err, "every failure says what to do"
    assert "Traceback" not in said.err
    assert not Path("/nonexistent").exists(), "nothing was begun"


def test_a_directory_without_recordings_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(tmp_path)]) == 22
    assert "weaklink run" in capsys.readouterr().err


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(arguments: object) -> int:
        raise error

    monkeypatch.setattr(cli.guests, "run", fail)


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (QemuMissing("none here", hint="install it"), 10, "weaklink: QEMU missing: none here\n  -> install it\n"),
        (GuestPanic("gave up"), 15, "weaklink: guest panic: gave up\n"),
        (OSError(28, "No space left on device"), 18, "weaklink: disk full: "),
        (OSError(errno.EFBIG, "File too large"), 18, "weaklink: disk full: "),
        (OSError("Error writing bytes to file: No space left on device"), 18, "weaklink: disk full: "),
        (ZeroDivisionError("x"), 29, "weaklink: internal error: ZeroDivisionError: x\n  -> report it with "),
        (KeyboardInterrupt(), 130, "weaklink: interrupted\n"),
    ],
)
@pytest.mark.usefixtures("cache")
def test_failures_end_with_their_code_and_without_a_traceback(
    error: BaseException, code: int, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(monkeypatch, error)
    assert main(["guests", "list"]) == code
    said = capsys.readouterr().err
    assert said.startswith(words)
    assert "Traceback" not in said


def test_what_nobody_foresaw_can_be_reported_as_it_is(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(monkeypatch, ZeroDivisionError("x\x1b[31m"))
    assert main(["guests", "list"]) == 29
    assert f"-> report it with {cache / 'bug.txt'}, which says where it happened" in capsys.readouterr().err
    kept = (cache / "bug.txt").read_text()
    assert f"weaklink {__version__}, Python " in kept
    assert "\nweaklink guests list  (in " in kept
    assert "in fail\n    raise error\n" in kept
    assert "\x1b" not in kept


def test_without_a_cache_the_traceback_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("WEAKLINK_CACHE", str(tmp_path / "file/cache"))
    failing(monkeypatch, ZeroDivisionError("x"))
    assert main(["guests", "list"]) == 29
    assert "run it again with --debug" in capsys.readouterr().err


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, ZeroDivisionError("x"))
    with pytest.raises(ZeroDivisionError):
        main(["--debug", "guests", "list"])


def test_a_reader_that_has_seen_enough_is_no_failure(root: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "profiler", "guests", "list"], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, b"")


def test_guests_are_listed_without_fetching_anything(root: Path, cache: Path) -> None:
    started = time.monotonic()
    answer = weaklink(root, "guests", "list", WEAKLINK_CACHE=str(cache))
    assert answer.returncode == 0, answer.stderr
    assert time.monotonic() - started < 5
    assert any(line.split()[0] == "linux" and "fetched on first use" in line for line in answer.stdout.splitlines())


def test_without_qemu_nothing_is_recorded_and_the_way_out_is_told(root: Path, tmp_path: Path, cache: Path) -> None:
    answer = weaklink(
        root, "run", "tour", "--guests", "linux", "--seeds", "1", "--out", str(tmp_path / "out"),
        PATH="", WEAKLINK_CACHE=str(cache), WEAKLINK_QEMU="",
    )  # fmt: skip
    assert answer.returncode == 10
    assert "apt-get install --no-install-recommends qemu-system-x86" in answer.stderr
    assert not list(tmp_path.rglob("manifest.json"))
