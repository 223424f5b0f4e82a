"""All guests beside each other, phase by phase: who executes how much, and who executes least where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from analysis.ledger import GuestLedger
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

    @property
    def undecided(self) -> tuple[str, ...]:
        """The phases in which no one guest executes fewest."""
        return tuple(row.name for row in self.rows if row.fewest is None)


def overview(names: Mapping[int, str], ledgers: Sequence[GuestLedger], why: Sequence[Mapping[int, str]],
             material: float) -> Overview:  # fmt: skip
    """The table of all ``names`` of phases; ``why`` says, per guest, why a phase of it has no figures.

    String bytes matter in a row in which they differ by at least ``material`` per instruction.
    """
    rows = []
    for number, name in sorted(names.items()):
        there = [number in ledger.ops for ledger in ledgers]
        sides = [(ledger.total("instructions", number), ledger.total("rep_bytes", number)) if here else None
                 for ledger, here in zip(ledgers, there, strict=True)]  # fmt: skip
        libc = [here and ledger.in_libc(number) for ledger, here in zip(ledgers, there, strict=True)]
        row = _row(number, name, sides, [reasons.get(number, "") for reasons in why], material, libc)
        apart = [ledger.set_apart(number) for ledger in ledgers]
        entries = (replace(entry, apart=value) for entry, value in zip(row.entries, apart, strict=True))
        rows.append(replace(row, entries=tuple(entries)))
    common = {number: float(ledgers[0].ops[number]) for number in names
              if all(number in ledger.ops for ledger in ledgers)}  # fmt: skip
    whole = None
    if len(common) > 1:
        sums = [(ledger.whole("instructions", common), ledger.whole("rep_bytes", common)) for ledger in ledgers]
        title = "all phases" if len(common) == len(names) else f"{len(common)} of {len(names)} phases"
        whole = _row(-1, title, sums, [""] * len(sums), material, [False] * len(sums))
    return Overview(tuple(rows), whole)


def _row(number: int, name: str, sides: Sequence[tuple[Spread, Spread] | None], why: Sequence[str],
         material: float, in_libc: Sequence[bool]) -> Row:  # fmt: skip
    base = sides[0]
    entries = []
    for side, reason, libc in zip(sides, why, in_libc, strict=True):
        if side is None:
            entries.append(Entry(None, None, reason or "not in every recording"))
        else:
            against = base or side
            entries.append(Entry(Change(against[0], side[0]), Change(against[1], side[1]), in_libc=libc or in_libc[0]))
    there = [side for side in sides if side is not None]
    moved = [side[1].mean for side in there]
    most = max((side[0].mean for side in there), default=0.0)
    return Row(
        number, name, tuple(entries),
        bytes_matter=len(there) > 1 and max(moved) - min(moved) >= max(material * most, 1.0),
        fewest=None if any(in_libc) else _fewest([None if side is None else side[0] for side in sides]),
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
