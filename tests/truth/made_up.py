"""Recordings that never ran, with a change of known size in each phase and known noise: what is found of the changes.

    python -m tests.truth.made_up [--rounds N]

Guests are written through ``probes.recording.write``: eight runs of a base and eight of another, phases of eighteen
cells whose costs chance draws, every one with a change in one cell, or with none.  Each phase is a trial.  What chance
draws, it draws from a seed: the same table every time.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from analysis.compare import compare
from analysis.comparison import Pair
from probes import recording
from probes.recording import Recording
from tests import synthetic
from tests.synthetic import Phase
from tests.truth.judge import beyond_the_floor

SIZES: Final = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05)
"""What is planted, as a share of the phase; 0 is nothing."""
RUNS: Final = 8
BASE, OTHER = "linux", "linux+planted=1"
ROUNDS: Final = 5
EACH: Final = 20
"""Phases of each size in a round; a recording has at most 200."""
_OPS: Final = 20
_OPERATIONS: Final = ("read", "write", "futex")
_LAYERS: Final = ("entry", "vfs", "fs", "mm-alloc", "sched", "lock")
CELLS: Final = tuple((operation, layer) for operation in _OPERATIONS for layer in _LAYERS)
PAGES: Final = ("write", "mm-alloc")
SWITCHING: Final = "futex"

Random = np.random.Generator
Costs = Mapping[tuple[str, str], int]
"""Instructions of all ops of a phase, by cell."""


def none(random: Random, costs: Costs) -> dict[tuple[str, str], int]:
    """Nothing but what was planted differs: all runs are alike."""
    return {}


def gaussian(random: Random, costs: Costs) -> dict[tuple[str, str], int]:
    """Each cell varies by itself, by 0.2 %: of the tour's larger cells nine in ten vary by 0.1 to 0.3 % at most."""
    return {cell: round(random.normal(0, 0.002) * cost) for cell, cost in costs.items()}


def bimodal(random: Random, costs: Costs) -> dict[tuple[str, str], int]:
    """One operation takes 5 % more in every other run, as a contended lock that goes to and fro in another order."""
    more = 0.05 * int(random.integers(0, 2))
    return {cell: round(more * cost) for cell, cost in costs.items() if cell[0] == SWITCHING}


def pages(random: Random, costs: Costs) -> dict[tuple[str, str], int]:
    """One cell has up to some percent of the phase more, depending on what the page allocator has at hand."""
    return {PAGES: round(random.exponential(0.02) * sum(costs.values()))}


NOISES: Final[Mapping[str, Callable[[Random, Costs], dict[tuple[str, str], int]]]] = {
    "none": none, "gaussian": gaussian, "bimodal": bimodal, "page allocator": pages,
}  # fmt: skip


FOUND: Final[Mapping[str, Mapping[float, float]]] = {
    "none": {0.002: 1.0, 0.005: 1.0, 0.01: 1.0, 0.02: 1.0, 0.05: 1.0},
    "gaussian": {0.002: 0.8, 0.005: 1.0, 0.01: 1.0, 0.02: 1.0, 0.05: 1.0},
    "bimodal": {0.002: 0.6, 0.005: 0.7, 0.01: 0.8, 0.02: 0.9, 0.05: 1.0},
    "page allocator": {0.002: 0.6, 0.005: 0.8, 0.01: 0.8, 0.02: 0.8, 0.05: 0.9},
}
"""Of changes of a size the share that must be found, at least."""
RIGHT: Final = 0.99
"""Of the findings beyond the floor the share that must be of something planted, at least."""


@dataclass(frozen=True)
class Planted:
    """A change of so many instructions of all ops of a phase, in one cell."""

    phase: str
    size: float
    cell: tuple[str, str]
    instructions: int


@dataclass(frozen=True)
class Trial:
    """A phase of a comparison: whether the change was found, and came first, and how many findings are of others."""

    noise: str
    planted: Planted
    found: bool
    first: bool
    others: int
    off: float
    """By how much of what was planted the finding's size is off; 0 if it was not found."""


def phase(random: Random, name: str) -> Phase:
    """A phase whose cells cost from 50 to 5,000 instructions per op, in two functions of each cell's own."""
    work = {}
    for operation, layer in CELLS:
        cost = round(float(np.exp(random.uniform(np.log(50), np.log(5000)))))
        work[operation, layer, moved((operation, layer))] = cost - cost // 4
        work[operation, layer, f"{operation}_{layer}_same"] = cost // 4
    return Phase(name, _OPS, dict.fromkeys(_OPERATIONS, 1), work)


def moved(cell: tuple[str, str]) -> str:
    """The function of a cell that executes more or less: by noise, or as it was planted."""
    return "_".join((*cell, "moved"))


def costs(of: Phase) -> dict[tuple[str, str], int]:
    """The instructions of all ops, by cell."""
    found = dict.fromkeys(CELLS, 0)
    for (operation, layer, _), cost in of.work.items():
        found[operation, layer] += cost * of.ops
    return found


def run(random: Random, phases: Sequence[Phase], noise: str, planted: Sequence[Planted] = ()) -> list[Phase]:
    """The phases as one run has them: with noise, and with what was planted."""
    more: dict[str, dict[tuple[str, str], int]] = {one.name: NOISES[noise](random, costs(one)) for one in phases}
    for change in planted:
        mine = more[change.phase]
        mine[change.cell] = mine.get(change.cell, 0) + change.instructions
    return [
        replace(one, jitter={(*cell, moved(cell)): value for cell, value in more[one.name].items()}) for one in phases
    ]


def write(place: Path, spec: str, seed: int, phases: Sequence[Phase]) -> Recording:
    """Record a run through the product's own writer, and read it again."""
    tables = synthetic.tables(list(phases), 1)  # jitter is times this
    recording.write(place, synthetic.manifest(spec, seed, phases), tables, b"")
    return recording.read(place)


def trials(noise: str, number: int, out: Path, each: int = EACH) -> list[Trial]:
    """One round: write it below ``out``, compare, and hold every phase against what was planted in it."""
    random = np.random.default_rng([number, list(NOISES).index(noise)])
    sizes = [size for size in SIZES for _ in range(each)]
    phases = [phase(random, f"phase-{place}") for place in range(len(sizes))]
    planted = []
    for one, size in zip(phases, sizes, strict=True):
        cell = CELLS[int(random.integers(0, len(CELLS)))]
        planted.append(Planted(one.name, size, cell, round(size * sum(costs(one).values()))))
    runs = [write(out / f"{spec}-{seed}", spec, seed, run(random, phases, noise, changes))
            for spec, changes in ((BASE, ()), (OTHER, planted)) for seed in range(RUNS)]  # fmt: skip
    pair = compare(runs, BASE, []).pairs[0]
    return judge(pair, noise, planted)


def judge(pair: Pair, noise: str, planted: Sequence[Planted]) -> list[Trial]:
    """What of each phase's change is found: nothing here looks at more than a user is shown."""
    by_name = {one.name: one for one in pair.phases}
    told = []
    for change in planted:
        mine = by_name[change.phase]
        cell = (mine.number, *change.cell, moved(change.cell))
        beyond = [finding for finding in mine.in_order if beyond_the_floor(finding, mine)]
        hits = [one for one in beyond if change.size and cell in one.cells and one.change.delta > 0]
        off = abs(hits[0].change.delta * _OPS / change.instructions - 1) if hits else 0.0
        first = bool(hits) and mine.in_order[0] is hits[0]
        told.append(Trial(noise, change, bool(hits), first, len(beyond) - len(hits), off))
    return told


def table(told: Sequence[Trial]) -> str:
    """Give a line per noise and size: of its changes those found, of all findings those that are of one, and so on."""
    lines = [["noise", "size", "phases", "found", "first", "right", "off by"]]
    for noise in dict.fromkeys(one.noise for one in told):
        for size in SIZES:
            mine = [one for one in told if (one.noise, one.planted.size) == (noise, size)]
            hits = [one for one in mine if one.found]
            findings = len(hits) + sum(one.others for one in mine)
            lines.append([
                noise, f"{100 * size:g} %", str(len(mine)), _share(len(hits), len(mine)) if size else "-",
                _share(sum(one.first for one in hits), len(hits)), _share(len(hits), findings),
                f"{100 * float(np.median([one.off for one in hits])):.1f} %" if hits else "-",
            ])  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    )


def misses(told: Sequence[Trial]) -> list[str]:
    """Say what is not as ``FOUND`` and ``RIGHT`` ask for, and of what was found what did not come first."""
    lines = []
    for noise, shares in FOUND.items():
        for size, least in shares.items():
            mine = [one for one in told if (one.noise, one.planted.size) == (noise, size)]
            found = sum(one.found for one in mine)
            if found < least * len(mine):
                lines.append(f"{noise}, {100 * size:g} %: {found} of {len(mine)} found, at least {100 * least:g} %")
        hits = [one for one in told if one.noise == noise and one.found]
        others = sum(one.others for one in told if one.noise == noise)
        if others > (1 - RIGHT) * (len(hits) + others):
            lines.append(f"{noise}: {others} findings of what nobody planted, beside {len(hits)} of changes")
        if later := [one for one in hits if not one.first]:
            lines.append(f"{noise}: {len(later)} changes were found behind something else")
    return lines


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "-"


def measure(rounds: int, noises: Sequence[str] = tuple(NOISES), each: int = EACH) -> list[Trial]:
    """All trials of some rounds of each noise."""
    told: list[Trial] = []
    for noise in noises:
        for number in range(rounds):
            with tempfile.TemporaryDirectory() as folder:
                told += trials(noise, number, Path(folder), each)
    return told


def main(words: list[str] | None = None) -> int:
    """Print the table; 1 if something is not as it must be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N",
                        help=f"each has {EACH} phases of each size (default: {ROUNDS})")  # fmt: skip
    arguments: Any = parser.parse_args(words)
    told = measure(arguments.rounds)
    print(table(told))
    for one in (wrong := misses(told)):
        print(f"MISS: {one}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
