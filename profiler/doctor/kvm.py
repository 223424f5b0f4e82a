"""Whether KVM really works: an unmodified kernel is booted under it.

A ``/dev/kvm`` that opens, and even runs a few instructions, says little: in some virtual machines every ordinary kernel
hangs on it before its first word.  So the kernel that weaklink boots under TCG is booted under KVM until it has come to
the end of its boot, where it finds no root file system and says so.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from profiler.doctor.check import Check, State
from profiler.errors import QemuDied, WeaklinkError
from profiler.machine import boot
from profiler.machine.command import CPU, Command
from profiler.machine.qemu import Qemu

DEVICE: Final = Path("/dev/kvm")
WHAT: Final = "measuring in time, which weaklink does not do yet"
MODELS: Final = ("host", CPU)
"""The processors to try, as QEMU calls them; the first is the usual one for KVM."""

SECONDS: Final = 4.0
"""What a boot under KVM may take: of CPU time, or without any sign of life.  Under TCG, all of it takes 3.5."""

UNDER_TCG_S: Final = 20.0
"""What the first line may take under TCG; it takes one."""

_ARRIVED: Final = re.compile(r"Unable to mount root fs|Cannot open root device")
_ALOUD: Final = "earlyprintk=serial,ttyS0 ignore_loglevel"


def check(qemu: Qemu | None, name: str, progress: Callable[[str], None]) -> Check:
    """Try it with the kernel of the guest ``name``, if that is in the cache; nothing is fetched."""
    if not DEVICE.exists():
        return _not(
            "missing", f"there is no {DEVICE}", "it takes a processor with virtualisation, or a host that passes it on"
        )
    try:
        os.close(os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return _not(
            "missing",
            f"{DEVICE} cannot be opened: {error.strerror}",
            "as root: usermod -aG kvm NAME, then log in again",
        )
    if qemu is None:
        return _not("limited", f"{DEVICE} opens; not tried, without QEMU", "see QEMU above")
    try:
        command = _command(qemu, name)
    except WeaklinkError as failure:
        return _not("limited", f"{DEVICE} opens; not tried: {failure}", "see the cache")
    if command is None:
        return _not("limited", f"{DEVICE} opens; not tried: no whole kernel of {name} is here", "run the demo first")
    progress("booting a kernel under TCG, to compare")
    usual = _boot(command, "", UNDER_TCG_S, lambda line: True)
    if not usual.arrived:
        return _not(
            "limited", f"{DEVICE} opens; not tried, the kernel does not even boot under TCG: {usual.trouble}", ""
        )
    failed = []
    for model in MODELS:
        short = model.partition(",")[0]
        progress(f"booting the same kernel under KVM, as {short} (a few seconds)")
        tried = _boot(command, model, SECONDS, lambda line: bool(_ARRIVED.search(line)))
        if tried.arrived:
            return Check("native", "kvm", f"boots {name} in {tried.wall_s:.1f} s, as {short}", WHAT)
        failed.append(f"as {short}: {tried.trouble}")
        if not tried.refused:  # it ran, and hung
            break
    return _not(
        "limited", f"{DEVICE} opens, but an unmodified kernel does not boot: {'; '.join(failed)}; under TCG its first"
        f" line comes after {usual.wall_s:.1f} s", "this is mostly KVM inside a virtual machine: ask who runs that",
    )  # fmt: skip


@dataclass(frozen=True)
class _Boot:
    """How far a boot came: to the line that was waited for, after ``wall_s``, or else what went wrong.

    ``refused``: QEMU itself ended, before the kernel could.
    """

    arrived: bool
    refused: bool
    wall_s: float
    trouble: str


def _boot(command: Command, model: str, seconds: float, over: Callable[[str], bool]) -> _Boot:
    """Boot under KVM with a processor, under TCG without one, until a line with some text in it is the wanted one."""
    seen: list[str] = []
    arrived: list[str] = []

    def until(line: str) -> bool:
        seen.extend([line.strip()] if line.strip() else [])
        arrived.extend([line] if line.strip() and over(line) else [])
        return bool(arrived)

    outcome = boot.run(
        lambda socket: replace(command, qmp_socket=socket, kvm=bool(model), cpu=model or command.cpu),
        panics=(), limits=boot.Limits(boot_s=seconds, stall_s=seconds), until=until,
    )  # fmt: skip
    if isinstance(outcome.failure, QemuDied):
        said = [line for line in outcome.stderr.splitlines() if line.strip()] or [str(outcome.failure).splitlines()[0]]
        trouble = f"QEMU dies, {said[0].strip()[:200]}"
    elif seen:
        trouble = f"stuck for {outcome.wall_s:.0f} s after {len(seen)} lines, the last: {seen[-1][:100]}"
    else:
        trouble = f"not a word in {outcome.wall_s:.0f} s"
    return _Boot(bool(arrived), isinstance(outcome.failure, QemuDied), outcome.wall_s, trouble)


def _not(state: State, reason: str, remedy: str) -> Check:
    return Check("native", "kvm", None, WHAT, state, reason, remedy)


def _command(qemu: Qemu, name: str) -> Command | None:
    """How the guest boots without an app; None if its kernel is not in the cache, or not what it was."""
    from images import guests, store

    guest = guests.load(name)
    builder, cache = guests.builder_of(guest), store.cache_dir()
    kernel, place = builder.ready(guest, cache=cache), builder.place(guest, cache=cache)
    if kernel is None or place is None or not store.intact(place):
        return None
    return Command(
        qemu.path, guest.machine, guest.memory_mib, kernel.elf, None, f"{guest.append} {_ALOUD}",
        datetime(2026, 1, 1), 1, Path("qmp"),
    )  # fmt: skip
