"""The names of locks: of the symbol there, as the kernel calls it, or of what points at it."""

from __future__ import annotations

import numpy as np
import pytest

from probes.events import EVENT_KINDS
from probes.exec import locks, log
from probes.objects import Objects
from probes.symbols import SymbolTable
from tests import raw_log

KERNEL_LOCK, RING, APP_LOCK = -0x7E0000000000 + 0x40, 0x4CB4C0, 0x4CB4F8
NAMELESS, POINTED, BESIDE, ENDED = 0x7F00, 0x7F0000000000, 0x7F0040, 0x4CB500


def named(values: object, *waits: tuple[str, int]) -> dict[int, str]:
    """The names that locks get of these events (kind, address), with a variable ``ring`` of 256 bytes."""
    events = np.zeros(len(waits), dtype=raw_log.EVENT)
    events["kind"] = [EVENT_KINDS.index(kind) for kind, _ in waits]
    events["value"] = [address for _, address in waits]
    objects = Objects([SymbolTable(np.array([RING], np.uint64), np.array([0x100], np.uint64), ["ring"])])
    table = locks.table(log.look([raw_log.pack(events)]).waited, locks.known(values), objects)
    return {lock["address"]: lock["name"] for lock in table.to_pylist()}


def test_the_symbol_comes_first_then_the_kernel_then_a_pointer() -> None:
    told = [[KERNEL_LOCK & (1 << 64) - 1, b"vm map".hex(), RING], [APP_LOCK, b"not this".hex(), 0],
            [1234, b"never".hex(), 0], [POINTED, "", RING], [BESIDE, "", APP_LOCK], [NAMELESS, "", 1]]  # fmt: skip
    waited = [KERNEL_LOCK, APP_LOCK, 0, APP_LOCK, NAMELESS, POINTED, BESIDE]
    assert named(told, *(("lock-contended", lock) for lock in waited), ("lock-acquired", ENDED), ("wake", RING)) == {
        KERNEL_LOCK: "vm map", APP_LOCK: "ring+0x38", POINTED: "*ring", BESIDE: "*(ring+0x38)"}  # fmt: skip


def test_nobody_waited() -> None:
    assert named([]) == {}


@pytest.mark.parametrize(
    "values",
    [[[1, "61"]], [[1, "6x", 0]], [[-1, "61", 0]], [[1, "61", -1]], [[1 << 64, "61", 0]], [[1, "0a", 0]],
     [[1, "ff", 0]], [[None, "61", 0]], 7, None],
)  # fmt: skip
def test_what_the_probe_cannot_have_said(values: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        locks.known(values)
