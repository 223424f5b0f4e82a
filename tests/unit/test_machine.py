"""The command line, the limits, the verdict, and that no QEMU outlives us.  A shell script stands in for QEMU."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path

import pytest

from profiler.errors import (
    AppFailed,
    AppHung,
    DiskFull,
    GuestExit,
    GuestPanic,
    NoBoot,
    OutOfMemory,
    ProbeLoad,
    QemuDied,
    QemuMissing,
    WeaklinkError,
)  # fmt: skip
from profiler.machine import boot, private, qemu, verdict
from profiler.machine.boot import Limits, Outcome
from profiler.machine.command import Command
from profiler.machine.console import Conversation
from profiler.machine.verdict import Evidence, judge

CONSOLES = Path(__file__).parent / "consoles"
PANICS = ("Kernel panic - not syncing", r"\bOops: [0-9a-f]{4}")
FAST = Limits(boot_s=20.0, run_s=20.0, stall_s=0.5)


def script(folder: Path, text: str) -> Path:
    path = folder / "qemu-system-x86_64"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def command(program: Path, **changes: object) -> Command:
    plain = Command(
        qemu=program, machine="microvm,acpi=off", memory_mib=256, kernel=Path("/k/vmlinux"), initrd=Path("/i/initrd"),
        append="console=ttyS0 quiet", clock=datetime(2026, 1, 2, 3, 4, 5), random_seed=7,
        qmp_socket=Path("/run/x/qmp.sock"),
    )  # fmt: skip
    return replace(plain, **changes)  # type: ignore[arg-type]


def run(folder: Path, text: str, limits: Limits = FAST) -> Outcome:
    program = script(folder, text)
    return boot.run(lambda socket: command(program, qmp_socket=socket), panics=PANICS, limits=limits)


# -- finding QEMU ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)\nCopyright", (7, 2, 22)),
        ("QEMU emulator version 10.0 (v10)", (10, 0, 0)),
        ("warning: something\nQEMU emulator version 11.1.3", (11, 1, 3)),
        ("qemu-img version 7.2.22", None),
        ("", None),
    ],
)
def test_the_version_is_read_from_what_qemu_prints(text: str, version: tuple[int, int, int] | None) -> None:
    assert qemu.parse_version(text) == version


def test_without_qemu_the_exact_way_to_install_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("WEAKLINK_QEMU", raising=False)
    with pytest.raises(QemuMissing) as caught:
        qemu.find()
    assert "apt-get install --no-install-recommends qemu-system-x86" in caught.value.hint


@pytest.mark.parametrize("text", ["echo QEMU emulator version 7.1.9", "echo hello", "exit 1", "printf '\\377\\0'"])
def test_a_qemu_that_cannot_serve_is_none(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEAKLINK_QEMU", str(script(tmp_path, text)))
    with pytest.raises(QemuMissing):
        qemu.find()


def test_the_override_wins_over_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = script(tmp_path, "echo QEMU emulator version 9.1.2 of our own")
    monkeypatch.setenv("WEAKLINK_QEMU", str(program))
    found = qemu.find()
    assert (found.path, found.release) == (program, "9.1.2")


# -- the command line --------------------------------------------------------------------------------------------------


def test_nothing_of_the_host_gets_into_the_guest() -> None:
    argv = command(Path("/usr/bin/qemu-system-x86_64")).argv()
    joined = " ".join(argv)
    for wanted in ("-nodefaults", "-no-user-config", "-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny",
                   "-icount shift=0,sleep=off", "-rtc base=2026-01-02T03:04:05,clock=vm",
                   "-seed 7", "-smp 1"):  # fmt: skip
        assert wanted in joined
    assert not {"-netdev", "-nic", "-drive", "-enable-kvm", "-monitor"} & set(argv)


def test_a_disk_can_only_be_read_and_hides_its_place() -> None:
    with_disk = command(Path("/q"), disk=Path("/home/a,b/disk.img"))
    argv = with_disk.argv()
    assert argv[argv.index("-drive") + 1] == "if=none,id=disk,readonly=on,format=raw,file=/home/a,,b/disk.img"
    assert argv[argv.index("-device") + 1] == "virtio-blk-pci,drive=disk"
    assert with_disk.shown() == command(Path("/q"), disk=Path("/other")).shown()
    assert "file=DISK" in with_disk.shown()


def test_a_comma_in_the_control_sockets_path_is_no_option() -> None:
    argv = command(Path("/q"), qmp_socket=Path("/tmp/a,b/qmp.sock")).argv()
    assert argv[argv.index("-qmp") + 1] == "unix:/tmp/a,,b/qmp.sock,server=on,wait=off"


def test_the_manifests_command_line_is_the_same_on_every_machine() -> None:
    one = command(Path("/usr/bin/qemu"), plugin="/home/a/probe.so,out=/home/a/x")
    other = command(Path("/opt/bin/qemu"), plugin="/root/probe.so,out=/y", kernel=Path("/z"), initrd=Path("/w"),
                    qmp_socket=Path("/v"))  # fmt: skip
    assert one.shown() == other.shown()
    assert "/home" not in one.shown()
    assert "-append 'console=ttyS0 quiet'" in one.shown(), "quoted so that it can be pasted"


# -- how a run ends ----------------------------------------------------------------------------------------------------


def evidence(name: str, **changes: object) -> Evidence:
    """What a recorded console of a real guest shows (tests/unit/consoles)."""
    lines = (CONSOLES / f"{name}.log").read_text().splitlines()
    conversation = Conversation()
    for line in lines:
        conversation.hear(line)
    return replace(Evidence(lines, conversation, panics=PANICS), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("no-init", "Unable to mount root fs"),
        ("init-exits", "Attempted to kill init! exitcode=0x00000300"),
        ("sysrq-crash", "sysrq triggered crash"),
        ("out-of-memory", "System is deadlocked on memory"),
        ("bad-initramfs", "Unable to mount root fs"),
    ],
)
def test_a_panic_wins_over_how_qemu_ended(name: str, cause: str) -> None:
    for changes in ({"exit_code": 0}, {"exit_code": None}, {"limit": "no sign of life"}, {"exit_code": 1}):
        failure = judge(evidence(name, **changes))
        assert isinstance(failure, GuestPanic)
        assert cause in str(failure).splitlines()[1], "the quote begins where the kernel gave up"
        assert failure.exit_code == 15


def test_a_silent_guest_hangs_only_if_a_limit_struck() -> None:
    hang = judge(evidence("silent", limit="not booted after 4 CPU seconds", exit_code=None))
    assert isinstance(hang, NoBoot)
    assert "before the app was ready" in str(hang)
    ended = judge(evidence("silent", exit_code=0))
    assert isinstance(ended, NoBoot)
    assert str(ended).startswith("the guest ended before")


@pytest.mark.parametrize(
    ("stderr", "kind"),
    [
        ("qemu: Could not load plugin /x/probe.so: /x/probe.so: file too short", ProbeLoad),
        ("qemu: Could not load plugin /x.so: plugin requires API version 9", ProbeLoad),
        ("qemu: -plugin: invalid option", ProbeLoad),
        ("weaklink-exec: write: No space left on device", DiskFull),
        ("weaklink-exec: write: Disk quota exceeded", DiskFull),
        ("qemu: unsupported machine type", QemuDied),
        ("qemu: cannot set up guest memory 'pc.ram': Cannot allocate memory", OutOfMemory),
        ("qemu: allocate 1073741824 bytes for jit buffer: Cannot allocate memory", OutOfMemory),
        ("weaklink-exec: no memory for call stacks", OutOfMemory),
    ],
)
def test_what_qemu_says_of_itself(stderr: str, kind: type[WeaklinkError]) -> None:
    failure = judge(Evidence([], Conversation(), stderr=stderr, exit_code=1, panics=PANICS))
    assert type(failure) is kind
    assert stderr.partition(": ")[2] in str(failure)


def test_the_probe_itself_says_why_it_cannot_begin() -> None:
    stderr = (
        "weaklink-exec: cannot read the configuration\nqemu: Could not load plugin /x.so: install returned error code 1"
    )
    failure = judge(Evidence([], Conversation(), stderr=stderr, exit_code=1, panics=PANICS))
    assert isinstance(failure, ProbeLoad)
    assert str(failure) == "QEMU refused the probe: weaklink-exec: cannot read the configuration"


def test_the_app_may_give_up() -> None:
    conversation = Conversation()
    conversation.hear("weaklink: error cannot mount /tmp")
    failure = judge(Evidence(["weaklink: error cannot mount /tmp"], conversation, exit_code=None))
    assert isinstance(failure, AppFailed)
    assert "cannot mount /tmp" in str(failure)


def test_a_qemu_that_the_kernel_killed_for_want_of_memory() -> None:
    for starved, code, kind in ((True, -9, OutOfMemory), (False, -9, QemuDied), (True, -11, QemuDied)):
        assert type(judge(Evidence([], Conversation(), exit_code=code, starved=starved))) is kind
    assert isinstance(judge(evidence("no-init", exit_code=-9, starved=True)), GuestPanic), "it came first"


@pytest.mark.parametrize(
    ("said", "exit_code", "kind", "words"),
    [
        (["ready"], -9, QemuDied, "QEMU was killed by signal 9 (SIGKILL) before the app was done"),
        ([], -11, QemuDied, "QEMU was killed by signal 11 (SIGSEGV) before the app was ready"),
        (["ready"], 1, QemuDied, "QEMU ended with 1 before the app was done"),
        (["ready", "done"], None, QemuDied, "the app was done, but QEMU had to be killed"),
        (["ready"], 0, GuestExit, "the guest ended before the app was done"),
    ],
)
def test_how_qemu_ended(said: list[str], exit_code: int | None, kind: type[WeaklinkError], words: str) -> None:
    conversation = Conversation()
    for word in said:
        conversation.hear(f"weaklink: {word}")
    failure = judge(Evidence(["the last line"], conversation, stderr="why", exit_code=exit_code))
    assert type(failure) is kind
    assert str(failure).startswith(words)
    assert ("why" in str(failure)) == (kind is QemuDied)


def test_every_failure_says_what_to_do() -> None:
    for name in ("no-init", "silent"):
        for changes in ({}, {"limit": "too long"}):
            failure = judge(evidence(name, **changes))
            assert failure is not None
            assert failure.hint


# -- running it --------------------------------------------------------------------------------------------------------


def test_a_guest_that_is_done_is_ended_even_if_it_does_not_listen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boot.control, "ANSWER_S", 0.3)
    outcome = run(tmp_path, "echo weaklink: ready; echo weaklink: done; exec sleep 60")
    assert outcome.conversation.done
    assert isinstance(outcome.failure, QemuDied), "the probe cannot have written its tables"
    assert outcome.wall_s < 5


def test_a_guest_that_stops_for_good_is_a_hang(tmp_path: Path) -> None:
    outcome = run(tmp_path, "echo weaklink: ready; exec sleep 60")
    assert isinstance(outcome.failure, AppHung)
    assert "no sign of life" in str(outcome.failure)
    assert outcome.console == b"weaklink: ready\n"


def test_a_guest_that_spins_is_a_hang_in_cpu_time(tmp_path: Path) -> None:
    outcome = run(tmp_path, "echo hello; while :; do :; done", Limits(boot_s=0.5, run_s=9, stall_s=9))
    assert isinstance(outcome.failure, NoBoot)
    assert "not booted after" in str(outcome.failure)
    assert 0.4 < outcome.cpu_s < 5


def test_a_log_of_the_console_does_not_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boot, "CONSOLE_BYTES", 1 << 20)
    program = script(tmp_path, "head -c 2000000 /dev/zero | tr '\\0' 'x' | fold -w 4000; exec sleep 60")
    for log, failed in ((None, "no sign of life"), (tmp_path / "log", "more than 1 MiB on the console")):
        outcome = boot.run(partial(_logged, program, log), panics=PANICS, limits=Limits(boot_s=60, run_s=60, stall_s=3))
        assert isinstance(outcome.failure, NoBoot)
        assert failed in str(outcome.failure)


def test_what_the_probe_writes_does_not_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boot, "WRITTEN_BYTES", 1 << 20)
    written = tmp_path / "written"
    written.mkdir()
    for size, failed in ((1_000_000, "no sign of life"), (2_000_000, "more than 1 MiB of events")):
        text = f"echo weaklink: ready; head -c {size} /dev/zero > {written}/events.bin; exec sleep 60"
        made = partial(_logged, script(tmp_path, text), None)
        outcome = boot.run(made, panics=PANICS, limits=FAST, written=written)
        assert isinstance(outcome.failure, AppHung)
        assert failed in str(outcome.failure)


def _logged(program: Path, log: Path | None, socket: Path) -> Command:
    return command(program, qmp_socket=socket, console_log=log)


def test_a_phase_may_be_silent_for_longer_than_the_stall_limit(tmp_path: Path) -> None:
    loop = "i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done"
    limits = Limits(boot_s=60, run_s=60, stall_s=0.3)
    outcome = run(tmp_path, f"echo weaklink: ready; {loop}; echo weaklink: done; exit 0", limits)
    assert outcome.wall_s > 0.3
    assert outcome.failure is None


def test_a_panic_ends_the_wait_with_its_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boot, "PANIC_TAIL_S", 0.5)
    outcome = run(tmp_path, f"cat {CONSOLES}/sysrq-crash.log; exec sleep 60", Limits(stall_s=30))
    assert isinstance(outcome.failure, GuestPanic)
    assert "sysrq_handle_crash" in str(outcome.failure)
    assert outcome.wall_s < 10


def test_a_panic_is_found_however_much_was_said_before_and_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boot, "PANIC_TAIL_S", 0.3)
    monkeypatch.setattr(boot, "LINES_KEPT", 100)
    outcome = run(tmp_path, "seq 5000; echo Kernel panic - not syncing: here; seq 5000; exec sleep 60", Limits())
    assert isinstance(outcome.failure, GuestPanic)
    assert "not syncing: here\n  | 1\n" in str(outcome.failure)
    assert outcome.console.count(b"\n") > 10_000, "the log has it all"


def test_a_program_that_cannot_be_executed_is_told(tmp_path: Path) -> None:
    program = script(tmp_path, "")
    program.chmod(0o644)
    outcome = boot.run(lambda socket: command(program, qmp_socket=socket), panics=(), limits=FAST)
    assert isinstance(outcome.failure, QemuDied)
    assert "Permission denied" in str(outcome.failure)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_no_qemu_outlives_us_even_if_we_are_killed(tmp_path: Path, root: Path) -> None:
    program = script(tmp_path, f"echo $$ > {tmp_path}/pid; echo weaklink: ready; exec sleep 60")
    code = f"""
from datetime import datetime
from pathlib import Path
from profiler.machine import boot
from profiler.machine.command import Command
boot.run(lambda socket: Command(
    qemu=Path({str(program)!r}), machine='m', memory_mib=1, kernel=Path('k'), initrd=None, append='',
    clock=datetime(2026, 1, 1), random_seed=1, qmp_socket=socket), panics=())
"""
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=root)
    deadline = time.monotonic() + 20
    while not ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    child = int((tmp_path / "pid").read_text())
    assert alive(child)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    while alive(child):
        assert time.monotonic() < deadline, "it is still running"
        time.sleep(0.02)


def test_nothing_private_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private.tempfile, "tempdir", str(tmp_path / "t"))
    (tmp_path / "t").mkdir()
    seen = []

    def remember(socket: Path) -> Command:
        seen.append(os.stat(socket.parent).st_mode & 0o777)
        return command(script(tmp_path, "exit 3"), qmp_socket=socket)

    boot.run(remember, panics=(), limits=FAST)
    assert seen == [0o700]
    assert list((tmp_path / "t").iterdir()) == []


def test_the_quoted_tail_is_bounded() -> None:
    failure = judge(Evidence(["x" * 5000] * 5000, Conversation(), exit_code=1))
    assert len(str(failure)) < 200 * verdict.TAIL_LINES


# -- the directory of a QEMU -------------------------------------------------------------------------------------------


def test_what_a_killed_process_left_is_swept_and_what_lives_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(private.tempfile, "tempdir", str(tmp_path))
    with private.directory() as mine:
        left, young = tmp_path / f"{private.PREFIX}left", tmp_path / f"{private.PREFIX}young"
        for place in (left, young):
            place.mkdir()
            (place / "lock").touch()
        for place in (left, mine):
            os.utime(place, (0, 0))
        with private.directory() as other:
            assert {path.name for path in tmp_path.iterdir()} == {mine.name, other.name, young.name}
            assert other.stat().st_mode & 0o777 == 0o700
    assert list(tmp_path.iterdir()) == [young]
