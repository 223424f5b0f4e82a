"""All guests beside each other, phase by phase: who executes how much, and who executes least where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis.ledger import COSTS, GuestLedger
from analysis.statistics import Change, Spread


@dataclass(frozen=True)
class Entry:
    """A guest in a phase, per op, and against the base.  ``why`` says why there are no figures.

    ``in_libc``: on this guest or on the base it is mostly what is not compared, so that a ratio says nothing of
    kernels; ``apart`` are the instructions of that, where libc is the kernel.
    """

    instructions: Change | None
    string_bytes: Change | None
    why: str = ""
    in_libc: bool = False
    apart: float = 0.0


@dataclass(frozen=True)
class Row:
    """A phase on all guests, the base first.  Where the base has no figures, a guest is held against itself."""

    number: int
    name: str
    entries: tuple[Entry, ...]
    bytes_matter: bool
    fewest: int | None  # the guest that executes fewest instructions, beyond the seed spread; None: no one guest does


@dataclass(frozen=True)
class Overview:
    """``whole`` has the phases that all guests have, all their ops together; None if there is no such phase."""

    rows: tuple[Row, ...]
    whole: Row | None

    def fewest_of(self, guest: int) -> tuple[str, ...]:
        """The phases in which a guest executes fewest instructions."""
        return tuple(row.name for row in self.rows if row.fewest == guest)


Sides = tuple[GuestLedger, GuestLedger]  # the base and another guest, as they are compared


def overview(names: Mapping[int, str], base: GuestLedger, pairs: Sequence[Sides], why: Sequence[Mapping[int, str]],
             material: float) -> Overview:  # fmt: skip
    """The table of all ``names`` of phases; ``why`` says, per guest, why a phase of it has no figures.

    String bytes matter in a row in which they differ by at least ``material`` per instruction.
    """
    sides = [(base, base), *pairs]
    rows = []
    for number, name in sorted(names.items()):
        entries = tuple(_entry(number, *side, reasons.get(number, "")) for side, reasons in
                        zip(sides, why, strict=True))  # fmt: skip
        rows.append(_row(number, name, entries, material))
    common = {number: float(base.ops[number]) for number in names
              if all(number in ledger.ops for side in sides for ledger in side)}  # fmt: skip
    whole = None
    if len(common) > 1:
        entries = tuple(
            Entry(
                Change(against.whole("instructions", common), ledger.whole("instructions", common)),
                Change(against.whole("rep_bytes", common), ledger.whole("rep_bytes", common)),
            )
            for against, ledger in sides
        )
        title = "all phases" if len(common) == len(names) else f"{len(common)} of {len(names)} phases"
        whole = _row(-1, title, entries, material)
    return Overview(tuple(rows), whole)


def _entry(number: int, base: GuestLedger, ledger: GuestLedger, why: str) -> Entry:
    if number not in ledger.ops:
        return Entry(None, None, why or "not in every recording")
    against = base if number in base.ops else ledger
    instructions, string_bytes = (Change(against.total(cost, number), ledger.total(cost, number)) for cost in COSTS)
    in_libc = ledger.in_libc(number) or against.in_libc(number)
    return Entry(instructions, string_bytes, in_libc=in_libc, apart=ledger.set_apart(number))


def _row(number: int, name: str, entries: tuple[Entry, ...], material: float) -> Row:
    instructions = [entry.instructions.other if entry.instructions else None for entry in entries]
    moved = [entry.string_bytes.other.mean for entry in entries if entry.string_bytes]
    most = max((side.mean for side in instructions if side), default=0.0)
    return Row(
        number, name, entries,
        bytes_matter=len(moved) > 1 and max(moved) - min(moved) >= max(material * most, 1.0),
        fewest=None if any(entry.in_libc for entry in entries) else _fewest(instructions),
    )  # fmt: skip


def _fewest(sides: Sequence[Spread | None]) -> int | None:
    """The position of the least, if the seeds alone do not make it so."""
    ordered = sorted((side.mean, guest) for guest, side in enumerate(sides) if side is not None)
    if len(ordered) < 2:
        return None
    first, second = (sides[guest] for _, guest in ordered[:2])
    assert first is not None
    assert second is not None
    return ordered[0][1] if Change(first, second).verdict == "differs" else None
