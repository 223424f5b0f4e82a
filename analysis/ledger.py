"""The recordings of one guest as one ledger: a column per different run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from analysis import columns
from analysis.columns import Columns, Mask
from analysis.comparable import ASIDE, libc_in_kernel
from analysis.split import Floats
from analysis.statistics import Spread, spread
from probes.names import readable
from probes.recording import Recording
from profiler.errors import NotComparable

if TYPE_CHECKING:
    import pandas as pd

Cost = Literal["instructions", "rep_bytes"]
COSTS: Final[tuple[Cost, ...]] = ("instructions", "rep_bytes")
"""What is compared, side by side and never added up: instructions, and bytes that string instructions moved or set."""

LEFT_OUT: Final = ("emulation", "device-wait")
"""Layers that are the emulator's doing; they are left out of costs, and their share is shown."""
ELSEWHERE: Final = 0.05
"""An operation of which the kernel executes a smaller share than this is answered without it."""
DEFERRED: Final = "deferred:"
WHERE: Final = (*ASIDE, "outside", "kernel", "emulation")
"""Where an operation's instructions are: the app's build, elsewhere in user space (vDSO), the kernel, the emulator."""
KEYS: Final = ["phase", "operation", "layer", "function"]
Key = tuple[int, str, str, str]
"""KEYS: phase, operation, layer, function."""


Place = Literal["nowhere", "libc", "user", "kernel"]
"""Who answers an operation: nobody asks for it; the app's libc alone; user space (the vDSO); the kernel."""


def place(where: Sequence[float]) -> Place:
    """Who answers what has its instructions in each of WHERE."""
    user, libc, outside, kernel, emulation = where
    whole = user + libc + outside + kernel + emulation
    if whole <= 0:
        return "nowhere"
    if kernel + emulation > ELSEWHERE * whole:
        return "kernel"
    return "user" if outside > libc else "libc"


@dataclass(frozen=True)
class GuestLedger:
    """What one guest executed, per op; every frame has one column per different run, named by the run's seed."""

    spec: str
    seeds: tuple[int, ...]  # all seeds recorded
    runs: tuple[int, ...]  # one seed for each different ledger
    costs: dict[Cost, pd.DataFrame]  # KEYS -> per op; deferred work is with the operation that caused it
    deferred: pd.DataFrame  # as costs: instructions per op of it that were deferred
    entered: pd.DataFrame  # as costs: entries of the function per op
    calls: pd.DataFrame  # (phase, operation) -> entries per op
    where: pd.DataFrame  # (phase, operation) -> WHERE, instructions per op, means over runs
    ops: dict[int, int]  # phase -> ops
    left_out: dict[int, float]  # phase -> share of all instructions in LEFT_OUT, mean over runs
    aside: bool  # whether the layers ASIDE are left out of costs
    libc_in_kernel: bool
    costly: Mapping[Key, Mapping[str, Floats]] | None  # instruction -> per op of each run; None: not counted
    apart: dict[tuple[int, str], float] = field(default_factory=dict)  # (phase, operation) left out -> instructions

    def only(self, phases: Sequence[int]) -> GuestLedger:
        """The same for some of its phases."""
        if set(self.ops) == set(phases):
            return self

        def part(frame: pd.DataFrame) -> pd.DataFrame:
            return frame[frame.index.get_level_values("phase").isin(list(phases))]

        return replace(
            self, costs={cost: part(frame) for cost, frame in self.costs.items()}, deferred=part(self.deferred),
            entered=part(self.entered), calls=part(self.calls), where=part(self.where),
            ops={phase: self.ops[phase] for phase in phases},
            left_out={phase: share for phase, share in self.left_out.items() if phase in phases},
            costly=self._costly_of(lambda key: key[0] in phases),
            apart={key: value for key, value in self.apart.items() if key[0] in phases},
        )  # fmt: skip

    def without(self, operations: Collection[tuple[int, str]]) -> GuestLedger:
        """The same without some (phase, operation), whose instructions are kept in ``apart``."""
        wanted = set(operations)

        def kept(frame: pd.DataFrame) -> Mask:
            index: Any = frame.index  # a MultiIndex: phase and operation are its first two levels
            phases, names = (index.levels[level].tolist() for level in (0, 1))
            table = np.array([[(phase, name) not in wanted for name in names] for phase in phases], dtype=bool)
            chosen: Mask = table.reshape(len(phases), len(names))[index.codes[0], index.codes[1]]
            return chosen

        if not operations:
            return self
        whole = self.costs["instructions"]
        out = whole[~kept(whole)].mean(axis=1).groupby(level=["phase", "operation"]).sum()
        return replace(
            self, costs={cost: frame[kept(frame)] for cost, frame in self.costs.items()},
            deferred=self.deferred[kept(self.deferred)], entered=self.entered[kept(self.entered)],
            apart=dict(zip(out.index.tolist(), out.tolist(), strict=True)),
            costly=self._costly_of(lambda key: key[:2] not in wanted),
        )  # fmt: skip

    def _costly_of(self, keep: Callable[[Key], bool]) -> Mapping[Key, Mapping[str, Floats]] | None:
        return None if self.costly is None else {key: counts for key, counts in self.costly.items() if keep(key)}

    @cached_property
    def places(self) -> dict[tuple[int, str], Place]:
        """Who answers each (phase, operation) that is executed at all."""
        keys = self.where.index.tolist()
        rows = self.where[list(WHERE)].to_numpy(dtype=np.float64)
        return {key: place(row) for key, row in zip(keys, rows.tolist(), strict=True) if sum(row) > 0}

    @cached_property
    def mostly_libc(self) -> set[tuple[int, str]]:
        """The (phase, operation) that are the app's own build's for the larger part."""
        own = self.where[list(ASIDE)].sum(axis=1)
        return set(self.where.index[(own > 0) & (own >= self.where.sum(axis=1) - own)].tolist())

    def costly_of(self, phase: int) -> list[Key]:
        """The cells of a phase that have costly instructions."""
        return [key for key in self.costly or () if key[0] == phase]

    def set_apart(self, phase: int) -> float:
        """Instructions per op of a phase that are in ``apart``."""
        return sum(value for key, value in self.apart.items() if key[0] == phase)

    def total(self, cost: Cost, phase: int) -> Spread:
        """The cost per op of a phase."""
        return spread(self._sums[cost].get(phase, [0.0] * len(self.runs)), len(self.seeds))

    def whole(self, cost: Cost, ops: Mapping[int, float]) -> Spread:
        """The cost of all ops of some phases together (not per op), given how many ops of each."""
        rows = [[value * count for value in self._sums[cost].get(phase, [])] for phase, count in ops.items()]
        return spread(
            [sum(values) for values in zip(*(row for row in rows if row), strict=True)] or [0.0], len(self.seeds)
        )

    def in_libc(self, phase: int) -> bool:
        """Whether next to nothing of a phase is compared beside the app's libc, or what is that on other guests."""
        own = self._layers["libc"].get(phase, 0.0) + self.set_apart(phase)
        return self.aside and self.total("instructions", phase).mean < ELSEWHERE * own

    def emulated(self, ops: Mapping[int, float]) -> float:
        """The share of all instructions of all ops of some phases that are the emulator's, and are left out."""
        rows = self.where.index.get_level_values("phase").map(lambda phase: ops.get(phase, 0.0)).to_numpy(np.float64)
        whole = float((self.where[list(WHERE)].to_numpy() * rows[:, None]).sum())
        return float((self.where["emulation"].to_numpy() * rows).sum()) / whole if whole else 0.0

    def of_layer(self, layer: str, ops: Mapping[int, float]) -> float:
        """Instructions of all ops of some phases in one of ``ASIDE``, mean over the runs."""
        return sum(self._layers[layer].get(phase, 0.0) * count for phase, count in ops.items())

    @cached_property
    def _sums(self) -> dict[Cost, dict[int, list[float]]]:
        """Per cost and phase, a figure per run."""
        sums = {cost: frame.groupby(level="phase").sum() for cost, frame in self.costs.items()}
        return {cost: dict(zip(frame.index.tolist(), frame.to_numpy().tolist(), strict=True))
                for cost, frame in sums.items()}  # fmt: skip

    @cached_property
    def _layers(self) -> dict[str, dict[int, float]]:
        sums = self.where[list(ASIDE)].groupby(level="phase").sum()
        return {layer: dict(zip(sums.index.tolist(), sums[layer].tolist(), strict=True)) for layer in ASIDE}


def of_guest(recordings: Sequence[Recording], phases: Sequence[int], *, aside: bool = False,
             did: Sequence[Mapping[int, int]] | None = None) -> GuestLedger:  # fmt: skip
    """The ledger of one guest's recordings, for the phases that were ``ok`` in all of them.

    ``aside`` leaves the layers ``ASIDE`` out of costs, where they are the app's own build: what a kernel that is not
    the app's libc does in its copies of libc's functions is the kernel's own work.  C++ functions get readable names.

    Seeds whose ledgers are identical are one run: they say nothing about the spread.  Raises ``NotComparable`` if a
    phase did another number of ops under another seed; ``did`` are the ops of each recording's phases, by seed, where
    the caller has read them.
    """
    import pandas as pd

    recordings = sorted(recordings, key=lambda recording: recording.seed)
    ops = _ops(recordings, phases, did or [dict(columns.phases(one, ("number", "ops"))) for one in recordings])
    seeds, count = [recording.seed for recording in recordings], len(recordings)
    in_kernel = np.array([libc_in_kernel(recording) for recording in recordings])
    rows, later = _stripped(
        columns.read(
            recordings, "ledger", [*KEYS, "space", "instructions", "rep_bytes", "calls"], {"function": readable}
        )
    )
    rows = Columns(rows.run, {**rows.values, "deferred": rows.values["instructions"] * later}, rows.names)
    rows = rows.where(np.isin(rows.values["phase"], list(phases)))
    out = rows.coded("layer", LEFT_OUT)
    own = _own(rows, in_kernel)

    by_phase, index = rows.groups(["phase"])
    sums = [rows.sums(values, by_phase, len(index), count) for values in (rows.values["instructions"] * out,
                                                                          rows.values["instructions"])]  # fmt: skip
    with np.errstate(invalid="ignore"):
        left_out = dict(zip(index.get_level_values(0).tolist(), np.nanmean(sums[0] / sums[1], axis=1), strict=True))

    compared = rows.where(~(out | own) if aside else ~out)
    group, keys = compared.groups(KEYS)
    cube = [compared.sums(name, group, len(keys), count) for name in (*COSTS, "deferred")]
    kept = _different([np.stack([sums[:, number] for sums in cube]) for number in range(count)])
    named = pd.Index([seeds[number] for number in kept])

    def per_op(sums: Floats, index: pd.MultiIndex) -> Floats:
        scaled: Floats = sums / index.get_level_values("phase").map(ops).to_numpy(dtype=np.float64)[:, None]
        return scaled

    def measure(sums: Floats) -> pd.DataFrame:
        return pd.DataFrame(per_op(sums[:, kept], keys), index=keys, columns=named)

    calls = columns.read(recordings, "calls", ["phase", "operation", "calls"])
    calls = calls.where(np.isin(calls.values["phase"], list(phases)))
    called, operations = calls.groups(["phase", "operation"])
    entries = calls.sums("calls", called, len(operations), count)[:, kept]
    return GuestLedger(
        spec=recordings[0].spec,
        seeds=tuple(seeds),
        runs=tuple(seeds[number] for number in kept),
        costs={cost: measure(sums) for cost, sums in zip(COSTS, cube, strict=False)},
        deferred=measure(cube[-1]),
        entered=measure(compared.sums("calls", group, len(keys), count)),
        where=_where(rows, own, out, kept, per_op),
        calls=pd.DataFrame(per_op(entries, operations), index=operations, columns=named),
        ops=ops,
        left_out={int(phase): float(share) for phase, share in left_out.items() if share == share},
        aside=aside,
        libc_in_kernel=bool(in_kernel[0]),
        costly=_costly(recordings, ops, kept, in_kernel, aside=aside),
    )


def _costly(recordings: Sequence[Recording], ops: Mapping[int, int], kept: Sequence[int], in_kernel: Mask, *,
            aside: bool) -> dict[Key, dict[str, Floats]] | None:  # fmt: skip
    """Costly instructions of what is compared, per op of each of the runs ``kept``; None if some did not count them."""
    able = [one.manifest["probe"]["capabilities"].get("costly instructions") for one in recordings]
    if not all(one and one["available"] for one in able):
        return None
    keys = [*KEYS, "instruction"]
    rows, _ = _stripped(columns.read(recordings, "costly", [*keys, "space", "count"], {"function": readable}))
    out = rows.coded("layer", LEFT_OUT) | (_own(rows, in_kernel) if aside else False)
    rows = rows.where(np.isin(rows.values["phase"], list(ops)) & ~out)
    group, index = rows.groups(keys)
    found: dict[Key, dict[str, Floats]] = {}
    counts = rows.sums("count", group, len(index), len(recordings))[:, kept]
    for (*key, instruction), runs in zip(index.tolist(), counts, strict=True):
        found.setdefault((key[0], key[1], key[2], key[3]), {})[instruction] = runs / ops[key[0]]
    return found


def _own(rows: Columns, in_kernel: Mask) -> Mask:
    """The rows that are the app's own build's, given for each run whether its libc is the kernel."""
    in_libc = rows.coded("layer", ["libc"]) & (rows.coded("space", ["user"]) | in_kernel[rows.run])
    return rows.coded("layer", ["user"]) | in_libc


def _where(rows: Columns, own: Mask, out: Mask, kept: Sequence[int],
           per_op: Callable[[Floats, pd.MultiIndex], Floats]) -> pd.DataFrame:  # fmt: skip
    """The instructions of each operation by WHERE, means over the runs ``kept``."""
    import pandas as pd

    chosen = np.isin(rows.run, list(kept))
    rows, own, out = rows.where(chosen), own[chosen], out[chosen]
    user, in_user = rows.coded("layer", ["user"]), rows.coded("space", ["user"])
    masks = {"user": own & user, "libc": own & ~user, "outside": ~own & ~out & in_user,
             "kernel": ~own & ~out & ~in_user, "emulation": out}  # fmt: skip
    group, index = rows.groups(["phase", "operation"])
    whole = [np.bincount(group, weights=rows.values["instructions"] * masks[name], minlength=len(index))
             for name in WHERE]  # fmt: skip
    return pd.DataFrame(per_op(np.stack(whole, axis=1) / len(kept), index), index=index, columns=list(WHERE))


def _stripped(rows: Columns) -> tuple[Columns, Mask]:
    """The rows with deferred work under the operation that caused it, and which of them those are."""
    plain = [name.removeprefix(DEFERRED) for name in rows.names["operation"]]
    known = sorted(set(plain))
    codes = np.array([known.index(name) for name in plain], dtype=np.int64)
    later = np.array([name.startswith(DEFERRED) for name in rows.names["operation"]], dtype=bool)
    operation = rows.values["operation"]
    names = {**rows.names, "operation": known}
    return Columns(rows.run, {**rows.values, "operation": codes[operation]}, names), later[operation]


def _ops(recordings: Sequence[Recording], phases: Sequence[int], did: Sequence[Mapping[int, int]]) -> dict[int, int]:
    found: dict[int, int] = {}
    for recording, one in zip(recordings, did, strict=True):
        for number, ops in one.items():
            if number in phases and found.setdefault(number, ops) != ops:
                raise NotComparable(f"phase {number} of {recording.spec} did {ops} ops under one seed, and "
                                    f"{found[number]} under another",
                                    hint="See what `weaklink verify` says of the recordings.")  # fmt: skip
    return found


def _different(columns: Sequence[np.ndarray]) -> list[int]:
    """The positions of the first of each set of equal arrays."""
    seen: dict[bytes, int] = {}
    for number, values in enumerate(columns):
        seen.setdefault(np.ascontiguousarray(values).tobytes(), number)
    return sorted(seen.values())
