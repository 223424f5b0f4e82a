"""Synthetic recordings whose functions are entered as often as their cost says, for predictions."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path

import pyarrow as pa

from probes import recording
from probes.recording import Recording
from tests import synthetic
from tests.synthetic import Phase
from tests.truth.nothing import Held

SEEDS = (0, 1, 2, 3)
OPS = 101
ENTRY = ("entry", "entry_SYSCALL_64")
AUDIT = ("security", "audit_call")
CLEAR = ("mm-alloc", "clear_page_erms")
COPY = ("copy", "copy_user")
EACH = {ENTRY: 90, CLEAR: 4, COPY: 30, AUDIT: 220}
"""What an entry of a function costs; of any other in the kernel, WORK."""
WORK = 200

Recorded = Callable[[str, list[Phase]], list[Recording]]


def call(operation: str, calls: int, pages: int = 0) -> Phase:
    """Give a phase of calls that each enter the kernel once, and copy and clear some pages in all of them together."""
    return Phase(
        operation, OPS, {operation: calls},
        {("user", "user", "main"): 7, (operation, *ENTRY): EACH[ENTRY] * calls, (operation, *COPY): EACH[COPY] * pages,
         (operation, *CLEAR): EACH[CLEAR] * pages, (operation, "vfs", f"do_{operation}"): WORK * calls},
        {(operation, *COPY): 4096 * pages, (operation, *CLEAR): 4096 * pages} if pages else {},
    )  # fmt: skip


def audited(phases: list[Phase], cost: int = EACH[AUDIT]) -> list[Phase]:
    """Let every call pay for a hook."""
    for phase in phases:
        for operation, calls in phase.calls.items():
            phase.work[(operation, *AUDIT)] = cost * calls
    return phases


def unit_phases() -> list[Phase]:
    """Give what the units do: calls of which some fill pages, all of them in two phases."""
    return [call("getppid", 1), call("write", 1, 4), call("read", 3), call("pwrite", 2, 2),
            call("getppid", 2), call("write", 3, 3), call("read", 1), call("pwrite", 1, 2)]  # fmt: skip


def app_phases() -> list[Phase]:
    """Give what the app does: calls that the units do not know, and writes of fewer pages."""
    return [call("fcntl", 5), call("write", 2, 1), call("getppid", 1)]


def recorder(root: Path) -> Recorded:
    """Give what records phases on a guest, each time in a place of its own."""
    made = count()

    def runs(spec: str, phases: list[Phase]) -> list[Recording]:
        place = root / str(next(made))
        synthetic.record(place, spec, phases, SEEDS)
        return [_entered(recording.read(one)) for one in recording.find(place)]

    return runs


def _entered(one: Recording) -> Held:
    rows = one.table("ledger").to_pylist()
    for row in rows:
        row["calls"] = row["instructions"] // EACH.get((row["layer"], row["function"]), WORK)
    tables = {name: one.table(name) for name in ("phases", "calls")}
    tables["ledger"] = pa.Table.from_pylist(rows, one.table("ledger").schema)
    return Held(one.directory, one.manifest, tables)
