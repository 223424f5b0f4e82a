"""Machine code for tests: assembly of their own, linked to where a kernel or an app would be."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from probes.exec.disassembly import Code

UPPER_HALF = 0xFFFFFFFF81000000

Assemble = Callable[..., tuple[Code, int]]
"""``function`` in a folder of the test's own: the fixture ``assemble``."""


def link(folder: Path, source: str, at: int, *, entry: str, flags: tuple[str, ...] = ()) -> Path:
    """Give an ELF file made of the source file of that name in ``folder``: its code at ``at``, no libc, no PIE."""
    elf = folder / Path(source).stem
    fixed = ["-O0", "-nostdlib", "-static", "-no-pie", "-fno-pie", "-mcmodel=kernel" if at >> 63 else "-mcmodel=small",
             "-Wl,--build-id=none", f"-Wl,-Ttext={at:#x}", f"-Wl,-e{entry}"]  # fmt: skip
    subprocess.run(["gcc", *fixed, *flags, folder / source, "-o", elf], check=True, timeout=60)
    return elf


def symbols(elf: Path) -> dict[str, int]:
    """Give name -> address of all symbols of an ELF file."""
    listing = subprocess.run(["nm", elf], check=True, capture_output=True, text=True, timeout=60).stdout
    return {line.split()[2]: int(line.split()[0], 16) for line in listing.splitlines() if len(line.split()) == 3}


def function(folder: Path, *lines: str) -> tuple[Code, int]:
    """Assemble one function at UPPER_HALF; give its code and its size in bytes."""
    body = "\n".join(lines)
    (folder / "f.S").write_text(f".text\n.globl f\nf:\n{body}\nend:\n.globl size\n.set size, end - f\n")
    elf = link(folder, "f.S", UPPER_HALF, entry="f")
    return Code(elf), symbols(elf)["size"]


def kernel(folder: Path, bodies: dict[str, str], *, at: int = UPPER_HALF, data: str = "") -> Path:
    """Make a kernel of functions: name -> assembly.  Between them are gaps; ``data`` is assembly of other sections."""
    parts = [
        f'.balign 8, 0xcc\n.globl "{name}"\n.type "{name}", @function\n"{name}":\n{body}\n'
        f'.size "{name}", . - "{name}"\n.skip 5, 0xcc\n'
        for name, body in bodies.items()
    ]
    (folder / "kernel.S").write_text(".text\n" + "".join(parts) + data)
    return link(folder, "kernel.S", at, entry=f"{next(iter(bodies))}")
