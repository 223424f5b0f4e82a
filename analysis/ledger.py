"""The recordings of one guest as one ledger: a column per different run."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final, Literal, cast

import numpy as np
import numpy.typing as npt

from analysis.calls import phase_calls
from analysis.comparable import ASIDE, libc_in_kernel
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
    deferred: pd.DataFrame  # (phase, operation, layer) -> instructions per op of it that were deferred
    calls: pd.DataFrame  # (phase, operation) -> entries per op
    where: pd.DataFrame  # (phase, operation) -> WHERE, instructions per op, means over runs
    ops: dict[int, int]  # phase -> ops
    left_out: dict[int, float]  # phase -> share of all instructions in LEFT_OUT, mean over runs
    aside: bool  # whether the layers ASIDE are left out of costs
    libc_in_kernel: bool
    apart: dict[tuple[int, str], float] = field(default_factory=dict)  # (phase, operation) left out -> instructions

    def only(self, phases: Sequence[int]) -> GuestLedger:
        """The same for some of its phases."""
        if set(self.ops) == set(phases):
            return self

        def part(frame: pd.DataFrame) -> pd.DataFrame:
            return frame[frame.index.get_level_values("phase").isin(list(phases))]

        return replace(
            self, costs={cost: part(frame) for cost, frame in self.costs.items()}, deferred=part(self.deferred),
            calls=part(self.calls), where=part(self.where), ops={phase: self.ops[phase] for phase in phases},
            left_out={phase: share for phase, share in self.left_out.items() if phase in phases},
            apart={key: value for key, value in self.apart.items() if key[0] in phases},
        )  # fmt: skip

    def without(self, operations: Collection[tuple[int, str]]) -> GuestLedger:
        """The same without some (phase, operation), whose instructions are kept in ``apart``."""
        import pandas as pd

        def kept(frame: pd.DataFrame) -> npt.NDArray[np.bool_]:
            keys = [frame.index.get_level_values(name) for name in ("phase", "operation")]
            return ~pd.MultiIndex.from_arrays(keys).isin(list(operations))

        if not operations:
            return self
        whole = self.costs["instructions"]
        out = whole[~kept(whole)].mean(axis=1).groupby(level=["phase", "operation"]).sum()
        return replace(
            self, costs={cost: frame[kept(frame)] for cost, frame in self.costs.items()},
            deferred=self.deferred[kept(self.deferred)], apart=dict(zip(out.index.tolist(), out.tolist(), strict=True)),
        )  # fmt: skip

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

    def set_apart(self, phase: int) -> float:
        """Instructions per op of a phase that are in ``apart``."""
        return sum(value for key, value in self.apart.items() if key[0] == phase)

    def total(self, cost: Cost, phase: int) -> Spread:
        """The cost per op of a phase."""
        return spread(self._sums[cost].get(phase, [0.0] * len(self.runs)))

    def whole(self, cost: Cost, ops: Mapping[int, float]) -> Spread:
        """The cost of all ops of some phases together (not per op), given how many ops of each."""
        rows = [[value * count for value in self._sums[cost].get(phase, [])] for phase, count in ops.items()]
        return spread([sum(values) for values in zip(*(row for row in rows if row), strict=True)] or [0.0])

    def in_libc(self, phase: int) -> bool:
        """Whether next to nothing of a phase is compared beside the app's libc, or what is that on other guests."""
        own = self._layers["libc"].get(phase, 0.0) + self.set_apart(phase)
        return self.aside and self.total("instructions", phase).mean < ELSEWHERE * own

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


def of_guest(recordings: Sequence[Recording], phases: Sequence[int], *, aside: bool = False) -> GuestLedger:
    """The ledger of one guest's recordings, for the phases that were ``ok`` in all of them.

    ``aside`` leaves the layers ``ASIDE`` out of costs, where they are the app's own build: what a kernel that is not
    the app's libc does in its copies of libc's functions is the kernel's own work.  C++ functions get readable names.

    Seeds whose ledgers are identical are one run: they say nothing about the spread.  Raises ``NotComparable`` if a
    phase did another number of ops under another seed.
    """
    import pandas as pd

    recordings = sorted(recordings, key=lambda recording: recording.seed)
    ops = _ops(recordings, phases)
    parts: list[pd.DataFrame] = []
    shares: list[pd.Series[float]] = []
    where: list[pd.DataFrame] = []
    for recording in recordings:
        frame = _stripped(recording)
        frame = frame[frame["phase"].isin(list(phases))]
        out = frame["layer"].isin(LEFT_OUT)
        everything, outside = (part.groupby("phase")["instructions"].sum() for part in (frame, frame[out]))
        shares.append(outside.reindex(everything.index, fill_value=0) / everything)
        own = (frame["layer"] == "user") | ((frame["layer"] == "libc") & (frame["in_user"] | libc_in_kernel(recording)))
        where.append(_where(frame, own.to_numpy(), out.to_numpy()))
        if aside:
            out |= own
        parts.append(frame[~out].groupby(KEYS, sort=False)[["instructions", "rep_bytes", "deferred"]].sum())
    seeds = [recording.seed for recording in recordings]
    joined = pd.concat(parts, axis=1, keys=range(len(parts)), sort=False).fillna(0).sort_index()
    kept = _different([joined[number].to_numpy() for number in range(len(parts))])
    per_op = 1 / joined.index.get_level_values("phase").map(ops).to_numpy(dtype=np.float64)

    def measure(name: str) -> pd.DataFrame:
        frame = joined.loc[:, [(number, name) for number in kept]].mul(per_op, axis=0)
        frame.columns = pd.Index([seeds[number] for number in kept])
        return frame

    calls = pd.concat([phase_calls(recordings[number]) for number in kept], axis=1, keys=[seeds[n] for n in kept])
    calls = calls.fillna(0).astype(float)
    calls = calls[calls.index.get_level_values("phase").isin(list(phases))]
    left_out = pd.concat(shares, axis=1).mean(axis=1)
    places = pd.concat([where[number] for number in kept]).groupby(level=["phase", "operation"]).sum() / len(kept)
    return GuestLedger(
        spec=recordings[0].spec,
        seeds=tuple(seeds),
        runs=tuple(seeds[number] for number in kept),
        costs={cost: measure(cost) for cost in COSTS},
        deferred=measure("deferred").groupby(level=["phase", "operation", "layer"]).sum(),
        where=places.mul(1 / places.index.get_level_values("phase").map(ops).to_numpy(dtype=np.float64), axis=0),
        calls=calls.mul(1 / calls.index.get_level_values("phase").map(ops).to_numpy(dtype=np.float64), axis=0),
        ops=ops,
        left_out={int(cast(int, phase)): float(share) for phase, share in left_out.items()},
        aside=aside,
        libc_in_kernel=libc_in_kernel(recordings[0]),
    )


def _where(frame: pd.DataFrame, own: npt.NDArray[np.bool_], out: npt.NDArray[np.bool_]) -> pd.DataFrame:
    """Of a recording's rows: the instructions of each operation by WHERE."""
    import pandas as pd

    instructions = frame["instructions"].to_numpy()
    layers = frame["layer"].to_numpy()
    masks = {"user": own & (layers == "user"), "libc": own & (layers == "libc"),
             "outside": ~own & ~out & frame["in_user"].to_numpy(), "kernel": ~own & ~out & ~frame["in_user"].to_numpy(),
             "emulation": out}  # fmt: skip
    columns = {name: np.where(masks[name], instructions, 0) for name in WHERE}
    return pd.DataFrame(columns).groupby([frame["phase"].to_numpy(), frame["operation"].to_numpy()]).sum().rename_axis(
        index=["phase", "operation"])  # fmt: skip


def _stripped(recording: Recording) -> pd.DataFrame:
    """The ledger with deferred work under the operation that caused it, and its instructions in a column too."""
    import pandas as pd

    frame = recording.frame("ledger", [*KEYS, "space", "instructions", "rep_bytes"])
    names = [str(name) for name in frame["operation"].cat.categories]
    codes = frame["operation"].cat.codes.to_numpy()
    deferred = np.array([name.startswith(DEFERRED) for name in names], dtype=bool)[codes]
    frame["deferred"] = np.where(deferred, frame["instructions"], 0)
    frame["operation"] = np.array([name.removeprefix(DEFERRED) for name in names], dtype=object)[codes]
    frame["in_user"] = (frame["space"] == "user").to_numpy()
    frame["layer"] = frame["layer"].astype(object)
    shown = np.array([readable(str(name)) for name in frame["function"].cat.categories], dtype=object)
    frame["function"] = shown[frame["function"].cat.codes.to_numpy()]
    return pd.DataFrame(frame)


def _ops(recordings: Sequence[Recording], phases: Sequence[int]) -> dict[int, int]:
    found: dict[int, int] = {}
    for recording in recordings:
        frame = recording.phases
        for number, ops in zip(frame["number"].tolist(), frame["ops"].tolist(), strict=True):
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
