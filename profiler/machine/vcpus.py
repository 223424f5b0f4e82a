"""One vCPU or several: how QEMU runs them, and what is refused because it would hang or count wrongly.

With one vCPU instructions are the clock (``-icount``), and the same seed gives the same bits.  Several run at the same
time, in a thread of QEMU's each, and no two runs are alike: docs/vcpus.md.
"""

from __future__ import annotations

from typing import Final

from profiler.errors import UsageError

MOST: Final = 8  # VCPUS in probes/exec/plugin/vcpus.h
ICOUNT: Final = "shift=0,sleep=off"
COUNTS_INLINE_SINCE: Final = (9, 0)
"""The first QEMU whose inline counters are a vCPU's own (plugin API 2): before, only callbacks count for several."""


def arguments(vcpus: int) -> list[str]:
    """Give what chooses QEMU's accelerator and clock.

    Never ``-icount`` with several: they would run one after the other in one thread, not at the same time, and on QEMU
    7.2 Linux and FreeBSD hang while they start their second CPU.
    """
    return ["-accel", "tcg", "-icount", ICOUNT] if vcpus == 1 else ["-accel", "tcg,thread=multi"]


def icount(vcpus: int) -> str:
    """Give QEMU's setting of the instruction clock, as a manifest has it."""
    return ICOUNT if vcpus == 1 else "off"


def mode(vcpus: int, asked: str | None, version: tuple[int, ...], *, stacks: bool = False) -> str:
    """Give the probe's mode for so many vCPUs on a QEMU of this version; ``asked`` is what the user said, or None.

    Raises ``UsageError`` for a number that is none, for exact counts where there are none, and for call stacks of
    several.
    """
    if not 1 <= vcpus <= MOST:
        raise UsageError(f"a guest cannot have {vcpus} vCPUs", hint=f"--vcpus is a number from 1 to {MOST}")
    if stacks and vcpus > 1:
        raise UsageError("call stacks are kept of one vCPU only", hint="leave --stacks or --vcpus out")
    inline = vcpus == 1 or version[:2] >= COUNTS_INLINE_SINCE
    if asked == "exact" and not inline:
        text = ".".join(map(str, version))
        raise UsageError(
            f"QEMU {text} cannot count exactly with {vcpus} vCPUs: its inline counters are for one vCPU only, and with"
            " instructions as the clock, one vCPU at a time, Linux and FreeBSD hang on it in their boot",
            hint="leave --mode out, or write --mode block: blocks are counted, up to 2 % too many; or use QEMU 9.0 or"
            " newer (WEAKLINK_QEMU)",
        )
    return asked or ("exact" if inline else "block")
