"""Nothing where nothing is: a guest against itself, on other seeds, and what of a small change is found there.

A pair is sixteen seeds in a row that no other pair has, which chance divides into eight and eight: among sixteen in a
row each size of memory is once (``profiler.plan.Seed``).  What is said of such a pair, of any phase or of all together,
is false.  Into the same pairs a change of known size is then put, to see what would be found of it: into recordings,
not into a kernel, because nobody has a switch that costs 0.5 %.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from analysis.compare import compare
from analysis.comparison import Pair
from analysis.ledger import DEFERRED, LEFT_OUT
from analysis.rank import Finding
from analysis.statistics import SAME
from probes.names import readable
from probes.recording import Recording
from tests.truth.judge import beyond_the_floor
from tests.truth.run import Wanted, recordings, side_by_side

APP: Final = "tour"
GUESTS: Final = ("linux", "osv:libc", "freebsd")
PAIRS: Final = 10
SIDE: Final = 8
FIRST: Final = 1001
"""Seeds from here on: no other recording here, and nothing that set a floor, was made from them."""
SIZES: Final = (0.001, 0.002, 0.005, 0.01, 0.02)
"""What is planted, as a share of the phase's instructions."""
_AGAIN: Final = "+again"
_TABLES: Final = ("ledger", "phases", "calls", "costly")


@dataclass(frozen=True)
class Held(Recording):
    """A recording whose tables are in memory, so that they can be changed."""

    tables: Mapping[str, pa.Table] = field(default_factory=dict, repr=False, compare=False)

    def table(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """See ``Recording.table``."""
        whole = self.tables[name]
        return whole if columns is None else whole.select(list(columns))


@dataclass(frozen=True)
class Said:
    """One finding where nothing is; ``phase`` is "" for one over all phases."""

    phase: str
    finding: Finding
    share: float  # of the phase, or of all


@dataclass(frozen=True)
class Outcome:
    """One pair: what is said of it, which is false, and the phases in which what was planted is found, by its size."""

    guest: str
    number: int
    phases: tuple[str, ...]
    runs: tuple[int, int]  # different ledgers of each side
    said: tuple[Said, ...]
    found: Mapping[float, tuple[str, ...]]


def seeds(number: int) -> tuple[list[int], list[int]]:
    """The seeds of the two sides of pair ``number``, from 0 on."""
    block = list(range(FIRST + 2 * SIDE * number, FIRST + 2 * SIDE * (number + 1)))
    random.Random(number).shuffle(block)
    return sorted(block[:SIDE]), sorted(block[SIDE:])


def measure(guests: Sequence[str], pairs: int, out: Path, jobs: int = 1) -> None:
    """Record the whole tour from all seeds of some pairs.  What is recorded already and still holds is kept."""
    last = FIRST + 2 * SIDE * pairs - 1
    side_by_side(dict.fromkeys(guests, (Wanted(APP, (), f"{FIRST}-{last}"),)), out, jobs)


def outcome(guest: str, number: int, out: Path, sizes: Sequence[float] = SIZES) -> Outcome:
    """Compare one pair, as it is and with changes planted; raises what ``compare`` raises."""
    base, other = ([_held(guest, seed, out) for seed in side] for side in seeds(number))
    other = [named(one, guest + _AGAIN) for one in other]
    pair = _compared(base, other)
    found = {}
    for size in sizes:
        planted = {phase.number: size * phase.instructions.base.mean * phase.ops for phase in pair.phases}
        places = largest([*base, *other])
        changed = _compared(base, [plant(one, places, planted) for one in other])
        found[size] = tuple(discovered(changed, places))
    return Outcome(
        guest, number, tuple(phase.name for phase in pair.phases), (pair.base.runs, pair.other.runs),
        tuple(said(pair)), found,
    )  # fmt: skip


def said(pair: Pair) -> Iterator[Said]:
    """Give every finding that a user would take for a difference, of each phase and of all together."""
    for phase in pair.phases:
        for finding in phase.in_order:
            if beyond_the_floor(finding, phase):
                whole = phase.instructions if finding.cost == "instructions" else phase.string_bytes
                yield Said(phase.name, finding, abs(finding.change.delta) / max(whole.base.mean, whole.other.mean))
    for finding in pair.in_order:
        whole = pair.instructions if finding.cost == "instructions" else pair.string_bytes
        share = abs(finding.change.delta) / max(whole.base.mean, whole.other.mean)
        if finding.change.verdict == "differs" and share > SAME:
            yield Said("", finding, share)


Place = tuple[str, str, str]  # operation, layer, function


def largest(runs: Sequence[Recording]) -> dict[int, Place]:
    """Give the function that executes most in each phase, and where, of those that every run executes there."""
    import pandas as pd

    cell = ["operation", "layer", "function"]
    rows = pd.concat([one.frame("ledger", ["phase", *cell, "instructions"]).astype(dict.fromkeys(cell, str))
                      .groupby(["phase", *cell], as_index=False).sum() for one in runs])  # fmt: skip
    rows = rows[~rows.layer.isin(LEFT_OUT) & ~rows.operation.str.startswith(DEFERRED) & (rows.instructions > 0)]
    cells = rows.groupby(["phase", *cell]).instructions.agg(["sum", "size"])
    everywhere = cells["sum"][cells["size"] >= len(runs)]
    top = everywhere.groupby("phase").idxmax().tolist()
    return {int(phase): (operation, layer, function) for phase, operation, layer, function in top}


def plant(one: Held, places: Mapping[int, Place], sizes: Mapping[int, float]) -> Held:
    """Let one function of each phase execute so many instructions more."""
    ledger = one.tables["ledger"]
    columns = {name: ledger[name].to_pylist() for name in ("phase", "operation", "layer", "function", "instructions")}
    counts = columns.pop("instructions")
    at = {}
    for row, (phase, *place) in enumerate(zip(*columns.values(), strict=True)):
        if tuple(place) == places.get(phase):
            at.setdefault(phase, row)
    for phase, row in at.items():
        counts[row] += round(sizes[phase])
    index = ledger.schema.get_field_index("instructions")
    changed = ledger.set_column(index, ledger.schema.field(index), pa.array(counts, ledger.schema.field(index).type))
    return replace(one, tables={**one.tables, "ledger": changed})


def discovered(pair: Pair, places: Mapping[int, Place]) -> Iterator[str]:
    """Give the phases in which a finding beyond the floor has the planted function, and says that it costs more."""
    for phase in pair.phases:
        if phase.number not in places:
            continue
        operation, layer, function = places[phase.number]
        cell = (phase.number, operation, layer, readable(function))  # as the comparison has it
        for finding in phase.in_order:
            if cell in finding.cells and finding.change.delta > 0 and beyond_the_floor(finding, phase):
                yield phase.name
                break


def _compared(base: Sequence[Recording], other: Sequence[Recording]) -> Pair:
    return compare([*base, *other], base[0].spec, []).pairs[0]


def _held(guest: str, seed: int, out: Path) -> Held:
    (one,) = recordings(Wanted(APP, (), f"{seed}-{seed}"), guest, out)
    return Held(one.directory, one.manifest, {name: one.table(name) for name in _TABLES})


def named(one: Held, spec: str) -> Held:
    """Give a recording under another guest's name, as if it had been of another guest."""
    manifest: Any = {**one.manifest, "guest": {**one.manifest["guest"], "spec": spec}}
    return replace(one, manifest=manifest)


def table(outcomes: Sequence[Outcome], sizes: Sequence[float] = SIZES) -> str:
    """Give a line per guest, then every finding that is false.

    Of each size stands in how many of all phases of all pairs it is found.
    """
    head = ["guest", "pairs", "phases", "pairs with a finding", "findings", *(f"{100 * size:g} %" for size in sizes)]
    lines = [head]
    for guest in dict.fromkeys(one.guest for one in outcomes):
        mine = [one for one in outcomes if one.guest == guest]
        phases = sum(len(one.phases) for one in mine)
        found = [sum(len(one.found[size]) for one in mine) for size in sizes]
        figures = [len(mine), phases, sum(bool(one.said) for one in mine), sum(len(one.said) for one in mine)]
        lines.append([guest, *map(str, figures), *(f"{100 * one / phases:.0f} %" for one in found)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = [[cell.rjust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    told = ["  ".join([line[0].ljust(widths[0]), *cells[1:]]) for line, cells in zip(lines, padded, strict=True)]
    for one in outcomes:
        for each in one.said:
            where = each.phase or "over all phases"
            told.append(f"MISS: {one.guest}, pair {one.number}, {where}: {100 * each.share:.2f} % where nothing is: "
                        f"{each.finding.sentence}")  # fmt: skip
    rarely = never(outcomes, sizes)
    return "\n".join([*told, *([""] if rarely else []), *rarely])


def never(outcomes: Sequence[Outcome], sizes: Sequence[float], half: float = 0.5) -> list[str]:
    """Say per guest which phases hide the larger sizes from more than half of the pairs."""
    lines = []
    for guest in dict.fromkeys(one.guest for one in outcomes):
        mine = [one for one in outcomes if one.guest == guest]
        for size in sizes:
            hidden = [phase for phase in mine[0].phases
                      if sum(phase in one.found[size] for one in mine) < half * len(mine)]  # fmt: skip
            if hidden and size > 2 * SAME:
                told = f"{guest}: {100 * size:g} % is found in fewer than half of the pairs"
                lines.append(f"{told} of {', '.join(hidden)}")
    return lines
