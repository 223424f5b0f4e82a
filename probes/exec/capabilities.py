"""What the exec probe can see on a given QEMU, and why it cannot see the rest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

NO_GUEST: Final = "this QEMU does not export what its debugger's stub reads registers and memory with"
NO_CLOCK: Final = "this QEMU does not export qemu_clock_get_ns and current_cpu, so idle time cannot be read"

_NO_PLUGINS: Final = "this QEMU was built without TCG plugins"
_NO_UPDATE: Final = "this QEMU does not export icount_update, so its main thread may wake a guest too late"

# plugin/clock.c, plugin/guest.c
_CLOCK: Final = frozenset(("qemu_clock_get_ns", "current_cpu"))
_UPDATE: Final = "icount_update"
_EYES: Final = frozenset(("x86_cpu_gdb_read_register", "cpu_memory_rw_debug", "current_cpu"))


@dataclass(frozen=True)
class Capability:
    """One thing to be seen: by which kinds of hook, whether it needs QEMU's clock or eyes, or why it cannot be had."""

    hooks: tuple[str, ...] = ()
    needs_clock: bool = False
    needs_guest: bool = False
    never: str = ""


TABLE: Final = {
    "instructions per function": Capability(),
    "exact counts": Capability(),
    "operations": Capability(hooks=("op",)),
    "system calls": Capability(hooks=("syscall", "handler")),
    "results": Capability(hooks=("op", "handler"), needs_guest=True),
    "context switches": Capability(hooks=("switch-out", "switch-in")),
    "why threads stop": Capability(hooks=("stop-entry",)),
    "thread identity": Capability(hooks=("switch-out", "switch-in")),
    "wake-ups": Capability(hooks=("wake",)),
    "lock slow paths": Capability(hooks=("lock", "lock-wait")),
    "which lock": Capability(hooks=("lock", "lock-entry"), needs_guest=True),
    "packets": Capability(hooks=("packet", "packet-read")),
    "packet sizes": Capability(hooks=("packet-length",), needs_guest=True),
    "new threads": Capability(hooks=("new",)),
    "names of threads": Capability(hooks=("thread-name",), needs_guest=True),
    "ends of threads": Capability(hooks=("stop-entry",)),
    "page faults": Capability(hooks=("fault",)),
    "interrupts": Capability(hooks=("irq", "device")),
    "idle time": Capability(needs_clock=True),
    "costly instructions": Capability(),
    "uncontended locks": Capability(never="their fast paths are inlined"),
}


def of_qemu(qemu: Path, version: tuple[int, ...]) -> dict[str, dict[str, Any]]:
    """Give {capability: {available, reason}} for a QEMU binary, from what it exports; nothing is run.

    What is not just there or not has a ``value`` too.
    """
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile
    from elftools.elf.sections import SymbolTableSection

    from probes.exec.build import api_of

    try:
        with qemu.open("rb") as file:
            section = ELFFile(file).get_section_by_name(".dynsym")
            exported = set()
            if isinstance(section, SymbolTableSection):
                exported = {symbol.name for symbol in section.iter_symbols() if symbol["st_shndx"] != "SHN_UNDEF"}
    except (OSError, ELFError):
        exported = set()
    plugins = "qemu_plugin_register_vcpu_tb_trans_cb" in exported
    able = {}
    for name, capability in TABLE.items():
        reason = capability.never
        if not plugins:
            reason = _NO_PLUGINS
        elif not reason and capability.needs_clock and not exported >= _CLOCK:
            reason = NO_CLOCK
        elif not reason and capability.needs_guest and not exported >= _EYES:
            reason = NO_GUEST
        able[name] = {"available": not reason, "reason": reason}
    api, updates = api_of(version), _UPDATE in exported
    for name, value, reason in (
        ("the same seed, the same bits", "always" if updates else "almost always", "" if updates else _NO_UPDATE),
        ("several vCPUs", "exact" if api >= 2 else "by blocks", ""),
        ("plugin API", api, ""),
    ):
        able[name] = {"available": plugins, "reason": reason if plugins else _NO_PLUGINS, "value": value}
    return able
