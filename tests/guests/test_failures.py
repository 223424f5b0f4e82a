"""Each way a run can fail, caused for real: its class, its exit code, its way out, and nothing half left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from images import Program, apps
from probes.exec import build
from profiler.cli.main import main
from profiler.errors import AppHung, NoBoot, WeaklinkError
from profiler.machine import boot


def arguments(out: Path, guest: str = "linux", *more: str) -> list[str]:
    return ["run", "tour", "--guests", guest, "--seeds", "1", "--phases", "null-call", "--out", str(out), *more]


def halves(out: Path) -> list[str]:
    """What must never be left: directories of ours that are not whole recordings."""
    left = [path for path in out.rglob(".*") if path.name != ".lock"]
    left += [path for path in out.rglob("seed-*") if path.is_dir() and not (path / "manifest.json").exists()]
    return [str(path.relative_to(out)) for path in left]


def only_run(out: Path) -> dict[str, Any]:
    run: dict[str, Any] = json.loads((out / "campaign.json").read_text())["runs"][0]
    return run


@pytest.fixture(scope="module", autouse=True)
def _kernel_is_there(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Fetch the kernel before any clock runs."""
    from images import GuestSpec, Program, prepare

    folder = tmp_path_factory.mktemp("kernel")
    (folder / "init").touch()
    prepare(GuestSpec.parse("linux"), Program(folder / "init", "", "", ""), [], work=folder, progress=print)


def test_no_qemu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("WEAKLINK_QEMU", raising=False)
    assert main(arguments(tmp_path / "out")) == 10
    said = capsys.readouterr().err
    assert "QEMU missing" in said
    assert "apt-get install --no-install-recommends qemu-system-x86" in said
    assert not (tmp_path / "out").exists()


def test_a_probe_that_qemu_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "probe.so").write_text("this is no shared object\n")
    monkeypatch.setattr(build, "plugin", lambda version, cache: tmp_path / "probe.so")
    assert main(arguments(tmp_path / "out")) == 13
    said = capsys.readouterr().err
    assert "probe not loadable" in said
    assert "file too short" in said or "invalid ELF header" in said
    assert "weaklink doctor" in said
    assert halves(tmp_path / "out") == []


@pytest.mark.parametrize("option", ["audti=1", "audti"])  # to the app an environment variable, an argument
def test_an_option_that_the_kernel_does_not_know(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    assert main(arguments(tmp_path, f"linux+{option}")) == 2
    said = capsys.readouterr().err
    assert f"does not know the option {option}\n" in said
    assert list(tmp_path.rglob("manifest.json")) == []
    assert halves(tmp_path) == []


def test_a_guest_that_panics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Without this step the kernel never unpacks its initramfs and has no root file system.
    assert main(arguments(tmp_path, "linux+initcall_blacklist=populate_rootfs")) == 15
    said = capsys.readouterr().err
    assert "guest panic" in said
    assert "Kernel panic - not syncing: VFS: Unable to mount root fs" in said
    run = only_run(tmp_path)
    assert (run["state"], run["error"]["class"], run["error"]["blame"]) == ("failed", "GuestPanic", "the guest")
    assert run["console"] in said, "the way out names the console"
    assert b"Kernel panic" in (tmp_path / run["console"]).read_bytes()
    assert halves(tmp_path) == []


def app_instead(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have another program run in the guest under the name of the tour."""
    (folder / "app.c").write_text(f"#include <stdio.h>\n#include <unistd.h>\nint main(void) {{ {text} }}\n")
    subprocess.run(["gcc", "-static", "-w", "-o", folder / "app", folder / "app.c"], check=True, timeout=60)
    other = Program(folder / "app", "0" * 64, "linux-static", "0" * 64, frozenset({"main"}))
    monkeypatch.setattr(apps, "build", lambda *asked, **more: other)


READY = 'printf("weaklink: ready\\n"); fflush(stdout);'


@pytest.mark.parametrize(
    ("text", "limit", "words", "kind"),
    [
        ("for (;;);", "6", "before the app was ready", NoBoot),
        (f"{READY} for (;;);", "4", "before the first phase: not done after", AppHung),
        (f"{READY} for (;;) pause();", "4", "before the first phase: ", AppHung),
    ],
    ids=["before ready", "spinning", "sleeping"],
)
def test_a_guest_that_hangs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    text: str,
    limit: str,
    words: str,
    kind: type[WeaklinkError],
) -> None:
    app_instead(tmp_path, text, monkeypatch)
    out = tmp_path / "out"
    started = time.monotonic()
    assert main(arguments(out, "linux", "--limit", limit)) == kind.exit_code
    assert time.monotonic() - started < 120
    said = capsys.readouterr().err
    assert kind.name in said
    assert words in said
    assert only_run(out)["error"]["class"] == kind.__name__
    assert halves(out) == []


def test_an_app_that_hangs_does_not_fill_the_disk_and_its_phase_is_named(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(boot, "WRITTEN_BYTES", 32 << 20)
    app, out = str(root / "tests/faults/faulty"), tmp_path / "out"
    assert main(["run", app, "--guests", "linux", "--seeds", "2-2", "--phases", "good,spin", "--out", str(out)]) == 16
    assert "app hung: in phase spin: more than 32 MiB of events" in capsys.readouterr().err
    assert halves(out) == []


def test_an_app_that_gives_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    app_instead(tmp_path, r'printf("weaklink: error no \033[31mred\033[0m today\n"); for (;;) pause();', monkeypatch)
    out = tmp_path / "out"
    assert main(arguments(out)) == 23
    said = capsys.readouterr().err
    assert "the app gave up: no [31mred[0m today" in said, "without the escape character"
    assert halves(out) == []


# -- from outside, as a user would -------------------------------------------------------------------------------------


def descendants(pid: int) -> Iterator[int]:
    """The processes below one, from /proc."""
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:
            continue
        for child in children:
            yield int(child)
            yield from descendants(int(child))


def program(pid: int) -> str:
    try:
        return Path(os.readlink(f"/proc/{pid}/exe")).name
    except OSError:
        return ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "terminate"])
def test_an_interrupted_campaign(root: Path, tmp_path: Path, number: signal.Signals) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "profiler", *arguments(out)]
    process = subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE, text=True)
    emulator = 0
    deadline = time.monotonic() + 100
    while not emulator:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)
        emulator = next((pid for pid in descendants(process.pid) if program(pid).startswith("qemu-system")), 0)
    time.sleep(0.5)  # into the boot
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted" in said
    assert "Traceback" not in said
    assert program(emulator) == "", "QEMU is still there"
    assert halves(out) == []
    assert not list(out.rglob("manifest.json"))


@pytest.mark.parametrize("size", ["256k", "4m"], ids=["for the initramfs", "for what the probe writes"])
def test_a_full_disk(root: Path, tmp_path: Path, size: str) -> None:
    small = tmp_path / "small"
    small.mkdir()
    unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--user", "--map-root-user"]
    mount = f'mount -t tmpfs -o size={size} none "{small}" || exit 99; '
    if subprocess.run([*unshare, "sh", "-c", mount], capture_output=True, check=False).returncode != 0:
        pytest.skip("this user may not mount a small file system, not even in a namespace of its own")
    # What is left is listed in there as well: outside, the file system is not visible.
    script = mount + f'"$@"; code=$?; find "{small}" -mindepth 1 >&2; exit $code'
    command = [*unshare, "sh", "-c", script, "sh", sys.executable, "-m", "profiler"]
    command += ["run", "tour", "--guests", "linux", "--seeds", "1", "--out", str(small / "out")]
    answer = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120, check=False)
    assert answer.returncode == 18, answer.stderr
    assert "disk full: no room left" in answer.stderr
    assert "make room" in answer.stderr
    left = [Path(line).name for line in answer.stderr.splitlines() if line.startswith(str(small))]
    assert sorted(set(left) - {"out", "tour", "linux"}) == [".lock", "campaign.json"]
