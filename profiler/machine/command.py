"""The QEMU command line of a run, as data."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from profiler.machine import vcpus

CPU: Final = "EPYC-Rome,check=off"
"""The one CPU model for all guests of all campaigns.

A named model, because ``max`` changes with QEMU; AMD, because there page-table isolation is off unless asked for, as on
any server CPU sold today.  ``check=off`` silences the list of features that TCG lacks: the guest's own report of its
CPU is in the manifest.
"""


@dataclass(frozen=True)
class Command:
    """All that decides how a guest runs; ``plugin`` is the whole ``-plugin`` argument, None runs without the probe.

    ``disk`` is a raw image that the guest can only read; ``console_log`` gets what the guest writes on its console.
    ``kvm``: not under TCG, where alone there is a probe (``weaklink doctor`` tries it).
    """

    qemu: Path
    machine: str
    memory_mib: int
    kernel: Path
    initrd: Path | None
    append: str
    clock: datetime
    random_seed: int
    qmp_socket: Path
    plugin: str | None = None
    cpu: str = CPU
    disk: Path | None = None
    console_log: Path | None = None
    vcpus: int = 1
    kvm: bool = False

    def argv(self) -> list[str]:
        """The arguments for QEMU, program first.

        One vCPU has instructions as its clock; several (``profiler.machine.vcpus``) run at the same time, each in a
        thread of its own, by the host's.  Of the host's besides as little as can be that could differ between two runs:
        no network, no display, a clock that starts at ``clock`` and runs with the guest, RDRAND from ``random_seed``.
        Only when a disk's answer comes is the host's affair.  The sandbox denies what a guest that broke out of QEMU
        would want first.
        """
        argv = [str(self.qemu), "-nodefaults", "-no-user-config", "-display", "none"]
        argv += ["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny"]
        argv += ["-accel", "kvm"] if self.kvm else vcpus.arguments(self.vcpus)
        argv += ["-rtc", f"base={self.clock.isoformat(timespec='seconds')},clock=vm"]
        argv += ["-seed", str(self.random_seed)]
        argv += ["-M", self.machine, "-cpu", self.cpu, "-smp", str(self.vcpus), "-m", str(self.memory_mib)]
        argv += [*self._console(), "-qmp", f"unix:{_comma(self.qmp_socket)},server=on,wait=off"]
        argv += ["-kernel", str(self.kernel)]
        if self.initrd is not None:
            argv += ["-initrd", str(self.initrd)]
        if self.disk is not None:
            argv += ["-drive", self._drive(), "-device", "virtio-blk-pci,drive=disk"]
        argv += ["-append", self.append]
        if self.plugin is not None:
            argv += ["-plugin", self.plugin]
        return [*argv, "-no-reboot"]

    def shown(self) -> str:
        """The command line for a manifest: shell-quoted, with this machine's paths replaced by names."""
        argv = self.argv()
        argv[0] = self.qemu.name
        names = {str(self.kernel): "KERNEL", f"unix:{_comma(self.qmp_socket)},server=on,wait=off": "unix:QMP"}
        if self.initrd is not None:
            names[str(self.initrd)] = "INITRD"
        if self.disk is not None:
            names[self._drive()] = self._drive(Path("DISK"))
        if self.plugin is not None:
            names[self.plugin] = "PROBE"
        if self.console_log is not None:
            names[self._console()[1]] = "stdio,id=console,logfile=LOG,logappend=off"
        return shlex.join(names.get(argument, argument) for argument in argv)

    def _console(self) -> list[str]:
        """The arguments for the serial line; its log has a character as soon as the guest has written it."""
        if self.console_log is None:
            return ["-serial", "stdio"]
        log = f"logfile={_comma(self.console_log)},logappend=off"
        return ["-chardev", f"stdio,id=console,{log}", "-serial", "chardev:console"]

    def _drive(self, shown: Path | None = None) -> str:
        """The ``-drive`` argument, of the disk itself or of a name to show in its place."""
        path = shown or self.disk
        assert path is not None
        return f"if=none,id=disk,readonly=on,format=raw,file={_comma(path)}"


def _comma(path: Path) -> str:
    """A path inside a comma-separated QEMU option: there a comma is written twice."""
    return str(path).replace(",", ",,")
