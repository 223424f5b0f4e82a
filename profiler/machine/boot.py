"""Runs one guest from power-on to the app's ``done``."""

from __future__ import annotations

import contextlib
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from profiler.errors import WeaklinkError
from profiler.machine import control, launch, private
from profiler.machine.command import Command
from profiler.machine.console import PREFIX, Console, Conversation
from profiler.machine.verdict import Evidence, judge, panic_pattern

STEP_S: Final = 0.25
"""How often limits are looked at, in seconds, while the guest is silent."""
LOOK_S: Final = 0.02
"""How often while it talks."""

AWAY_S: Final = 5.0
"""A gap between two looks after which this process was stopped (Ctrl-Z, a suspended host), and not the guest slow."""

PANIC_TAIL_S: Final = 2.0
"""How long a guest may go on talking after a panic: the trace follows the message."""

USUAL_BOOT_S: Final = 2.5
"""CPU seconds that a boot takes on the machine the limits were chosen on; a slower one gets longer to run."""

STATUS_S: Final = 10.0
"""How long the status of a program may be awaited whose window has closed."""

CONSOLE_BYTES: Final = 256 << 20
"""The most that a guest may write where QEMU keeps all of its console in a file: that is no reason to fill a disk."""

WRITTEN_BYTES: Final = 8 << 30
"""The most that the probe may write of a run: half a billion events, of which an app that hangs may make millions a
second."""

STDERR_BYTES: Final = 64 << 10
LINES_KEPT: Final = 4000
"""Lines kept for the verdict: the last ones, and as many again after a panic."""


@dataclass(frozen=True)
class Limits:
    """How long a guest may take.

    ``boot_s`` and ``run_s`` are CPU seconds of QEMU, so that a busy or suspended host is not taken for a hanging guest;
    ``run_s`` grows with the time that the boot took.  ``stall_s`` is wall seconds without a console line and without
    any CPU time used: a vCPU that is halted for good.
    """

    boot_s: float = 90.0
    run_s: float = 600.0
    stall_s: float = 30.0

    def both(self, seconds: float) -> Limits:
        """These limits with ``seconds`` for boot and run each."""
        return replace(self, boot_s=seconds, run_s=seconds, stall_s=min(self.stall_s, seconds))


@dataclass(frozen=True)
class Unaware:
    """How to listen to a program that is not written for weaklink.

    ``starts`` and ``ends`` are patterns of the kernel's own lines, "" for none: see ``images.Bootable``.  ``over`` says
    whether all is seen that is wanted; ``with_status``: but for the status with which the program ends.
    """

    starts: str
    ends: str
    over: Callable[[], bool]
    with_status: bool


@dataclass(frozen=True)
class Outcome:
    """A run that ended: what was said, and how long it took.

    ``boot_s`` and ``wall_s`` are wall seconds from power-on, ``boot_cpu_s`` and ``cpu_s`` QEMU's CPU seconds.
    """

    conversation: Conversation
    console: bytes
    console_dropped: int
    boot_s: float
    wall_s: float
    boot_cpu_s: float
    cpu_s: float
    stderr: str
    failure: WeaklinkError | None


def run(
    command: Callable[[Path], Command],
    *,
    panics: Sequence[str],
    limits: Limits | None = None,
    on_line: Callable[[str], None] = lambda line: None,
    until: Callable[[str], bool] = lambda line: False,
    unaware: Unaware | None = None,
    written: Path | None = None,
) -> Outcome:
    """Boot a guest, listen until the app is done or a limit strikes, end QEMU, and judge.

    ``command`` is given the path for the control socket, in a directory that only this user may enter; ``written`` is
    the one that the probe writes to.  Where ``until`` says yes to a line, that is enough, and QEMU is killed.  A
    failure of the guest is returned in the outcome together with its console; what interrupts us (Ctrl-C) passes
    through after QEMU has been killed.
    """
    with private.directory() as place:
        socket, stderr_path = place / "qmp.sock", place / "stderr"
        started = command(socket)
        starved = _starved()
        with stderr_path.open("wb") as stderr, _started(started, stderr.fileno()) as process:
            watch = _Watch(process, limits or Limits(), panics, on_line, until, unaware)
            watch.console_bytes = CONSOLE_BYTES if started.console_log else None
            watch.written = written
            watch.listen()
            exit_code = _end(process, watch, socket)
            watch.drain()
        with stderr_path.open("rb") as said:
            errors = said.read(STDERR_BYTES).decode(errors="replace")
    evidence = Evidence(watch.lines, watch.conversation, errors, exit_code, watch.limit, panics, _starved() > starved)
    return Outcome(
        watch.conversation, watch.console.log, watch.console.dropped, watch.boot_s, watch.wall_s,
        watch.boot_cpu_s, watch.cpu_s, errors,
        judge(evidence),
    )  # fmt: skip


@contextmanager
def _started(command: Command, stderr: int) -> Iterator[subprocess.Popen[bytes]]:
    """QEMU, in a process group of its own (Ctrl-C is ours to hand on), dead when this context or this process ends."""
    argv = [sys.executable, "-I", "-S", launch.__file__, str(os.getpid()), *command.argv()]
    process = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, process_group=0, cwd="/"
    )
    try:
        yield process
    finally:
        control.kill(process)
        if process.stdout is not None:
            process.stdout.close()


def _end(process: subprocess.Popen[bytes], watch: _Watch, socket: Path) -> int | None:
    """End QEMU: its exit code if the app was done, or if it had ended by itself; None if it was killed.

    Where an app hangs the probe has to say how far it came; where the guest failed nothing more is wanted from it.
    """
    if watch.over_gently:
        return control.quit_politely(process, socket)
    code = process.poll()
    if watch.limit and watch.conversation.ready:
        control.quit_politely(process, socket, patience_s=0)
    control.kill(process)
    return code


class _Watch:
    """Listens to one guest and knows when to stop."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        limits: Limits,
        panics: Sequence[str],
        on_line: Callable[[str], None],
        until: Callable[[str], bool],
        unaware: Unaware | None,
    ) -> None:
        assert process.stdout is not None
        self.console = Console(process.stdout.fileno())
        self.conversation = Conversation()
        self.lines: list[str] = []
        self.limit = ""
        self.console_bytes: int | None = None
        self.written: Path | None = None
        self.boot_s = self.wall_s = self.boot_cpu_s = self.cpu_s = 0.0
        self._process, self._limits, self._on_line, self._until = process, limits, on_line, until
        self._panic = panic_pattern(panics)
        self._panicked: float | None = None
        self._unaware, self._over_since, self._seen_all = unaware, math.inf, False
        self._started = self._moved = self._looked = time.monotonic()
        self._look_next = 0.0
        self._unwatched_s = self._boot_watched_s = 0.0

    @property
    def over_gently(self) -> bool:
        """Whether the app was done, so that the probe's tables are wanted and QEMU is to end in order."""
        return self.conversation.done or self._seen_all

    def listen(self) -> None:
        """Take in lines until there is a reason to stop."""
        while not (self.console.ended or self.conversation.done or self.conversation.error):
            line = self.console.line(STEP_S)
            now = time.monotonic()
            self._notice_absence(now)
            if line is not None:
                self._take(line, now)
                if self._until(line):
                    break
            if self._panicked is not None and now - self._panicked > PANIC_TAIL_S:
                break
            if line is None or now >= self._look_next:  # not at each of a million empty lines
                self._look_at_limits(now)
                self._look_next = now + LOOK_S
            if self._enough(now):
                self._seen_all = True
            if self.limit or self._seen_all:
                break
        if self.console.ended:
            try:  # its output is closed: it is ending, and its exit code is worth a moment
                self._process.wait(control.ANSWER_S)
            except subprocess.TimeoutExpired:
                self.limit = "QEMU closed its console but did not end"
        self.wall_s = time.monotonic() - self._started
        self.cpu_s = max(self.cpu_s, _cpu_seconds(self._process.pid))

    def drain(self) -> None:
        """Take in what was still in the pipe when QEMU ended."""
        while not self.console.ended:
            line = self.console.line(STEP_S)
            if line is None:
                break
            self._take(line, time.monotonic())
        self.conversation.done |= self._seen_all

    def _take(self, line: str, now: float) -> None:
        was_ready = self.conversation.ready
        self.conversation.hear(self._translated(line))
        if self._panicked is None and len(self.lines) >= LINES_KEPT:
            del self.lines[: LINES_KEPT // 2]
        if len(self.lines) < 2 * LINES_KEPT:
            self.lines.append(line)
        if self.conversation.ready and not was_ready:
            self.boot_s, self.boot_cpu_s = now - self._started, _cpu_seconds(self._process.pid)
            self._boot_watched_s = self.boot_cpu_s - self._unwatched_s
        if self._panicked is None and self._panic is not None and self._panic.search(line):
            self._panicked = now
        self._moved = now
        self._on_line(line)

    def _translated(self, line: str) -> str:
        """What the kernel says of a program, in the words in which ours say it."""
        if self._unaware and self._unaware.starts and re.search(self._unaware.starts, line):
            return f"{PREFIX}ready"
        if self._unaware and self._unaware.ends and (found := re.search(self._unaware.ends, line)):
            return f"{PREFIX}exit {found[1] or 0}"
        return line

    def _enough(self, now: float) -> bool:
        """Whether an unaware program need not be waited for any longer."""
        if self._unaware is None or not self._unaware.over():
            return False
        self._over_since = min(self._over_since, now)
        known = self.conversation.status is not None or not self._unaware.with_status
        return known or now - self._over_since > STATUS_S

    def _notice_absence(self, now: float) -> None:
        """Leave out of the limits what QEMU used while nobody heard it: what it said by then is still in the pipe."""
        if now - self._looked > AWAY_S:
            cpu_s = _cpu_seconds(self._process.pid)
            self._unwatched_s += max(0.0, cpu_s - self.cpu_s)
            self.cpu_s, self._moved = max(self.cpu_s, cpu_s), now
        self._looked = now

    def _look_at_limits(self, now: float) -> None:
        cpu_s = _cpu_seconds(self._process.pid)
        if cpu_s > self.cpu_s:
            self.cpu_s, self._moved = cpu_s, now
        cpu_s -= self._unwatched_s
        limits = self._limits
        if self.console_bytes is not None and self.console.read > self.console_bytes:
            self.limit = f"more than {self.console_bytes >> 20} MiB on the console"
        elif self.written is not None and _bytes_in(self.written) > WRITTEN_BYTES:
            self.limit = f"more than {WRITTEN_BYTES >> 20:,} MiB of events"
        elif now - self._moved > limits.stall_s:
            self.limit = f"no sign of life for {limits.stall_s:.0f} s"
        elif not self.conversation.ready:
            if cpu_s > limits.boot_s:
                self.limit = f"not booted after {limits.boot_s:.0f} CPU seconds"
        else:
            allowed = limits.run_s * max(1.0, self._boot_watched_s / USUAL_BOOT_S)
            if cpu_s - self._boot_watched_s > allowed:
                self.limit = f"not done after {allowed:.0f} CPU seconds"


def _bytes_in(folder: Path) -> int:
    return sum(entry.stat().st_size for entry in os.scandir(folder))


def _starved() -> int:
    """How many processes this machine's kernel has killed for want of memory, in whatever control group."""
    with contextlib.suppress(OSError):
        found = re.search(r"^oom_kill (\d+)$", Path("/proc/vmstat").read_text(), re.MULTILINE)
        return int(found[1]) if found else 0
    return 0


def _cpu_seconds(pid: int) -> float:
    """CPU time used by a process so far, in seconds; 0 once it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0.0
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
