"""How a run ended: fine, or a failure with a name.

The evidence is judged in this order, because the later signs follow from the earlier ones: the host's memory or disk is
full; QEMU refused the probe; the guest's kernel said that it cannot go on (this wins over "QEMU is gone", which is how
a guest that reboots on panic ends); the app gave up; it was done; a limit struck; QEMU died; the guest ended early.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

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
    WeaklinkError,
    no_memory,
    no_room,
)  # fmt: skip
from profiler.machine.console import PREFIX, SIGNAL, Conversation, visible

TAIL_LINES: Final = 12
"""How many of the console's last lines a failure quotes."""

_PLUGIN: Final = re.compile(r"plugin|-plugin.*invalid option", re.IGNORECASE)
_PROBE: Final = re.compile(r"weaklink-exec: ")
"""How the probe's own words begin: they say why, where QEMU has a number."""


@dataclass(frozen=True)
class Evidence:
    """What is known when a run is over.

    ``lines`` are the console's (safe to show), ``stderr`` is QEMU's, ``exit_code`` is QEMU's or None if it was killed,
    ``limit`` says in words which limit struck, if one did, ``panics`` are the guest's patterns (regular expressions);
    ``starved``: while it ran, this machine's kernel killed somebody for want of memory.
    """

    lines: Sequence[str]
    conversation: Conversation
    stderr: str = ""
    exit_code: int | None = 0
    limit: str = ""
    panics: Sequence[str] = ()
    starved: bool = False


def panic_pattern(panics: Sequence[str]) -> re.Pattern[str] | None:
    """One pattern for all of a guest's panic patterns; None if it has none."""
    return re.compile("|".join(f"(?:{pattern})" for pattern in panics)) if panics else None


def judge(evidence: Evidence) -> WeaklinkError | None:
    """The failure that the evidence shows, or None if the app was done and QEMU ended as asked."""
    said = evidence.conversation
    no_space = _first(no_room, evidence.stderr)
    if no_space:
        return DiskFull(f"QEMU could not write: {no_space}", hint="make room where the recordings go, then run again")
    too_much = _first(no_memory, evidence.stderr)
    if too_much:
        return OutOfMemory(f"QEMU could not have memory: {too_much}")
    refusal = _first(_PLUGIN.search, evidence.stderr)
    if refusal and not evidence.lines:
        return ProbeLoad(f"QEMU refused the probe: {_first(_PROBE.match, evidence.stderr) or refusal}")
    panic = _panic(evidence)
    if panic is not None:
        return panic
    tail = _tail(evidence.lines)
    if said.error:
        return AppFailed(f"the app gave up: {said.error}", hint="look at the app")
    if said.done or (said.status is not None and evidence.exit_code == 0):  # OSv switches off when its program ends
        if evidence.exit_code == 0:
            return None
        how = "had to be killed" if evidence.exit_code is None else f"exited with {evidence.exit_code}"
        return QemuDied(f"the app was done, but QEMU {how}{_said(evidence.stderr)}")
    if evidence.limit and said.ready:
        return AppHung(f"{evidence.limit}, after boot{tail}")
    if evidence.limit:
        return NoBoot(f"{evidence.limit}, before the app was ready{tail}")
    where = "before the app was done" if said.ready else "before the app was ready"
    code = evidence.exit_code
    if code == -signal.SIGKILL and evidence.starved:
        return OutOfMemory(f"this machine's kernel killed QEMU for want of memory {where}")
    if code:
        how = f"was killed by signal {-code} ({_signal(-code)})" if code < 0 else f"ended with {code}"
        return QemuDied(f"QEMU {how} {where}{_said(evidence.stderr)}{tail}")
    return (GuestExit if said.ready else NoBoot)(f"the guest ended {where}{tail}")


def program_failed(status: int | None, console: bytes) -> AppFailed | None:
    """The failure of a program that did not end well; None if it did, or if nobody knows."""
    if not status:
        return None
    number = status - SIGNAL
    how = f"ended with status {status}"
    if number > 0:
        how = f"was killed by signal {number} ({_signal(number)})"
    lines = [visible(line) for line in console.decode("utf-8", errors="replace").splitlines()]
    theirs = [line for line in lines if line.strip() and not line.startswith(PREFIX)]
    return AppFailed(
        f"the program {how}{_tail(theirs)}",
        hint="in the guest it has its libraries and arguments; other files must be named with --file",
    )


def _panic(evidence: Evidence) -> GuestPanic | None:
    pattern = panic_pattern(evidence.panics)
    if pattern is None:
        return None
    at = next((number for number, line in enumerate(evidence.lines) if pattern.search(line)), None)
    if at is None:
        return None
    quoted = _tail(evidence.lines[at : at + TAIL_LINES])
    return GuestPanic(f"the guest's kernel gave up{quoted}")


def _first(wanted: Callable[[str], object], text: str) -> str:
    return next((line.strip()[:300] for line in text.splitlines() if wanted(line)), "")


def _signal(number: int) -> str:
    return signal.Signals(number).name if number in set(signal.Signals) else "unknown"


def _said(stderr: str) -> str:
    last = [line.strip() for line in stderr.splitlines() if line.strip()][-3:]
    return "".join(f"\n  qemu: {line[:300]}" for line in last)


def _tail(lines: Sequence[str]) -> str:
    if not lines:
        return "; the console is empty"
    return ":" + "".join(f"\n  | {line[:160]}" for line in lines[-TAIL_LINES:])
