"""Turn what the probe wrote into the tables of ``probes/events.py``, columnar: no loop over events or cells."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa

from probes.events import CELL, COSTLY, COSTLY_INSTRUCTIONS, EVENTS, FRAMES, LEDGER, PHASES, ROLES, STACKS
from probes.exec import files, frames, locks, names
from probes.exec.configure import Hooks
from probes.exec.files import AGAIN, FULL
from probes.exec.frames import Functions, Tree
from probes.exec.log import MOST, Log, look
from probes.exec.said import Phase
from profiler.errors import ProbeLoss

# struct cell with its row's key (plugin/ledger.c), a cell's costly instructions (costly.c).
_CELL: Final = np.dtype([
    ("phase", "<u2"), ("role", "<u2"), ("operation", "<u2"), ("vcpu", "<u2"), ("function", "<i4"), ("_", "<i4"),
    ("raw", "<u8"), ("calls", "<u8"), ("rep_iterations", "<u8"), ("rep_bytes", "<u8"), ("idle_ns", "<u8"),
])  # fmt: skip
_COSTLY: Final = np.dtype([
    ("phase", "<u2"), ("role", "<u2"), ("operation", "<u2"), ("class", "<u2"), ("function", "<i4"), ("_", "<i4"),
    ("count", "<u8"),
])  # fmt: skip
_CELL_COUNTS: Final = ("raw", "calls", "rep_iterations", "rep_bytes", "idle_ns")
_STACK_KEY: Final = ["phase", "role", "operation", "stack"]
_DEFERRED: Final = 0x8000  # OP_DEFERRED, plugin/threads.h
_NOT_ZERO: Final = ("rows", "functions", "frames", "phases")
_TROUBLE: Final = (*_NOT_ZERO, "resync", "switches")
_STACKS_SEEN: Final = ("unwound", "opened", "deep", "resync", "full")  # struct stacks_seen, plugin/stacks.h
_PHASES: Final = 200  # probes/marker.h

Counts = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Tables:
    """A run, decoded; ``capabilities`` says what could be seen, ``trouble`` what the probe found odd."""

    ledger: pa.Table
    phases: pa.Table
    events: pa.RecordBatchReader
    """Read from the probe's files as they are asked for, once."""
    locks: pa.Table
    threads: pa.Table
    costly: pa.Table
    frames: pa.Table
    stacks: pa.Table
    capabilities: dict[str, dict[str, Any]]
    lost_events: int
    trouble: dict[str, int]
    hooks_fired: dict[str, int]
    stacks_seen: dict[str, int] | None
    """How often stacks were left otherwise than by returning, and the like; None without stacks."""
    vcpus: list[dict[str, int]]
    """Of several: see ``probes.manifest.VcpuManifest``."""


def decode(out: Path, hooks: Hooks, phases: Sequence[Phase], shared: Collection[str] = ()) -> Tables:
    """Read the probe's files in ``out``, written with the configuration that ``hooks`` describes.

    In a run with call stacks the kernel's functions named in ``shared`` are of the layer of whoever calls them.

    Raises ``ProbeLoss`` if a file is missing, cut short or inconsistent, or if the app never disarmed the probe.
    """
    summary = _summary(out, hooks)
    log, raw = Log.at(out, summary.lost_events), files.records(out / "ledger.bin", _CELL)
    seen = look(log.records())
    functions, tree = Functions.of(hooks), None
    if summary.stacks is not None:
        tree = frames.read(out / "stacks.bin", functions, shared, np.union1d(raw["function"], seen.stacks))
    elif len(seen.stacks):
        raise ProbeLoss("events.bin has an event that cannot be", hint=AGAIN)
    events = log.batches(_operation_names(hooks, seen.names), tree.of_events if tree else None)
    costly = files.records(out / "costly.bin", _COSTLY)
    cells = _cells("ledger.bin", raw, _CELL_COUNTS, hooks, functions, tree)
    cells["instructions"] = cells.pop("raw") - cells["rep_iterations"]
    ledger, windows = _counted(cells, list(CELL), LEDGER, idle=summary.clock), _phases(summary, phases)
    _conserved(summary, raw)
    return Tables(
        ledger=ledger,
        phases=windows,
        events=pa.RecordBatchReader.from_batches(EVENTS, events),
        threads=summary.threads,
        locks=locks.table(seen.waited, summary.known_locks, hooks.objects),
        costly=_costly(_cells("costly.bin", costly, ("class", "count"), hooks, functions, tree)),
        frames=tree.table() if tree else FRAMES.empty_table(),
        stacks=_counted(cells, _STACK_KEY, STACKS, idle=summary.clock) if tree else STACKS.empty_table(),
        capabilities=_capabilities(summary, hooks, seen.woken_run),
        lost_events=sum(summary.lost_events),
        trouble=summary.trouble,
        hooks_fired=_fired(hooks, summary.fired),
        stacks_seen=summary.stacks,
        vcpus=_of_vcpus(summary),
    )


@dataclass(frozen=True)
class _Summary:
    exact: bool
    clock: bool
    guest: bool
    lost_events: list[int]  # of each vCPU
    points: Counts  # of each vCPU, begin and end of each phase by turns: number, raw, rep iterations, idle ns
    trouble: dict[str, int]
    fired: Counts
    known_locks: locks.Known
    threads: pa.Table
    stacks: dict[str, int] | None


def _summary(out: Path, hooks: Hooks) -> _Summary:
    try:
        value = files.summary(out)
        flags = [value[name] for name in ("exact", "clock", "guest", "complete", "ledger_written")]
        trouble = {str(name): int(value["trouble"][name]) for name in _TROUBLE}
        points, fired = np.stack([_counts(one["points"], 4) for one in value["vcpus"]]), _counts(value["fired"])
        lost = _counts([one["lost_events"] for one in value["vcpus"]]).tolist()
        known_locks, threads = locks.known(value["locks"]), names.table(value["threads"])
        stacks = value.get("stacks")
        if stacks is not None:
            stacks = dict(zip(_STACKS_SEEN, _counts([stacks[name] for name in _STACKS_SEEN]).tolist(), strict=True))
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        no_room = not (out / "summary.json").exists() or not (out / "summary.json").stat().st_size
        raise ProbeLoss(
            f"the probe left no summary that can be read: {error!r:.200}", hint=FULL if no_room else AGAIN
        ) from error
    if not all(isinstance(flag, bool) for flag in flags) or not (points[:, :, 0] < _PHASES).all():
        raise ProbeLoss("the probe's summary is not one of this version", hint=AGAIN)
    if not flags[3]:
        raise ProbeLoss("the app never executed the disarm marker", hint="the console says how far it came")
    if not flags[4]:
        raise ProbeLoss("the probe could not write its ledger", hint=FULL)
    full = [name for name in _NOT_ZERO if trouble[name]]
    if full:
        raise ProbeLoss(f"the probe ran out of {', '.join(full)}", hint=AGAIN)
    if len(fired) != len(hooks.kinds):
        raise ProbeLoss("the probe's summary is of other hooks", hint=AGAIN)
    return _Summary(flags[0], flags[1], flags[2], lost, points, trouble, fired, known_locks, threads, stacks)


def _counts(values: Any, columns: int = 0) -> Counts:
    """Whole numbers from 0 to 2^62, in rows if ``columns`` is given; ValueError or TypeError for anything else."""
    if not isinstance(values, list):
        raise TypeError("no list")
    shape = (len(values), columns) if columns else (len(values),)
    array = np.array(values, dtype=object).reshape(shape)
    if any(isinstance(row, list) != bool(columns) for row in values) or not all(
        type(number) is int and 0 <= number < MOST for number in array.flat
    ):
        raise ValueError("no counts")
    return array.astype(np.int64)


def _operation_names(hooks: Hooks, used: np.ndarray[Any, Any]) -> dict[int, str]:
    names = {}
    for code in np.unique(used).tolist():
        number = code & ~_DEFERRED
        if number >= len(hooks.names):
            raise ProbeLoss(f"the probe wrote an unknown name, {number}", hint=AGAIN)
        names[code] = f"deferred:{hooks.names[number]}" if code & _DEFERRED else hooks.names[number]
    return names


def _of_vcpus(summary: _Summary) -> list[dict[str, int]]:
    """Give each vCPU's counters of each phase, where there are several."""
    if len(summary.points) == 1:
        return []
    did = summary.points[:, 1::2] - summary.points[:, ::2]
    did[:, :, 0] = summary.points[:, ::2, 0]
    return [
        {"phase": phase, "vcpu": vcpu, "instructions": raw - rep, "rep_iterations": rep, "idle_ns": idle}
        for vcpu, phases in enumerate(did.tolist())
        for phase, raw, rep, idle in phases
    ]


def _conserved(summary: _Summary, cells: np.ndarray[Any, Any]) -> None:
    """Raise ``ProbeLoss`` unless each of several vCPUs' cells of each phase add up to its own counters."""
    if len(summary.points) == 1:
        return  # what is compared for one vCPU is in the recording: analysis.verify
    if len(cells) and cells["vcpu"].max() >= len(summary.points):
        raise ProbeLoss("ledger.bin has cells of a vCPU that is not there", hint=AGAIN)
    begins, ends = summary.points[:, ::2], summary.points[:, 1::2]
    for column, name in enumerate(("raw", "rep_iterations", "idle_ns"), start=1):
        counted = np.zeros((len(begins), _PHASES), dtype=np.int64)
        np.add.at(counted, (cells["vcpu"], cells["phase"]), cells[name].astype(np.int64))
        off = ends[:, :, column] - begins[:, :, column] - counted[np.arange(len(begins))[:, None], begins[:, :, 0]]
        if off.any():
            vcpu, point = np.argwhere(off)[0].tolist()
            raise ProbeLoss(f"{name} of vCPU {vcpu} in phase {begins[vcpu, point, 0]} do not add up", hint=AGAIN)


def _counted(cells: pd.DataFrame, keys: list[str], schema: pa.Schema, *, idle: bool) -> pa.Table:
    """Add up what is one row of the table: pieces of one function, and functions of one name and layer, are."""
    counts = [name for name in schema.names if name not in keys]
    frame = cells.groupby(keys, as_index=False, sort=True)[counts].sum()
    if bool((frame["instructions"] < 0).any()):
        raise ProbeLoss("ledger.bin has more iterations than instructions", hint=AGAIN)
    if not idle:
        frame["idle_ns"] = pd.array([pd.NA] * len(frame), dtype="Int64")
    return pa.Table.from_pandas(frame[schema.names], schema=schema, preserve_index=False)


def _costly(frame: pd.DataFrame) -> pa.Table:
    if len(frame) and not frame["class"].between(1, len(COSTLY_INSTRUCTIONS)).all():
        raise ProbeLoss("costly.bin names what is not there", hint=AGAIN)
    frame["instruction"] = np.asarray(COSTLY_INSTRUCTIONS, dtype=object)[frame["class"] - 1]
    frame = frame.groupby([*CELL, "instruction"], as_index=False, sort=True)[["count"]].sum()
    return pa.Table.from_pandas(frame[COSTLY.names], schema=COSTLY, preserve_index=False)


def _cells(
    file: str, raw: np.ndarray[Any, Any], counts: Sequence[str], hooks: Hooks, functions: Functions, tree: Tree | None
) -> pd.DataFrame:
    """A file's records of cells, with names for their numbers; with a ``tree`` they have the column ``stack``."""
    if any(raw[name].sum(dtype=np.float64) >= MOST for name in counts) or bool((raw["phase"] >= _PHASES).any()):
        raise ProbeLoss(f"{file} counts what cannot be", hint=AGAIN)
    try:
        numbers = tree.frames_of(raw["function"]) if tree else functions.rows(raw["function"])
    except ValueError as error:
        raise ProbeLoss(f"{file} names what is not there", hint=AGAIN) from error
    if len(raw) and raw["role"].max() >= len(ROLES):
        raise ProbeLoss(f"{file} names what is not there", hint=AGAIN)
    about = tree.functions if tree else functions
    return pd.DataFrame({
        "phase": raw["phase"].astype(np.int16),
        "role": np.asarray(ROLES, dtype=object)[raw["role"]],
        "operation": pd.Series(raw["operation"]).map(_operation_names(hooks, raw["operation"])),
        "layer": about.layers[numbers],
        "function": about.names[numbers],
        "space": about.spaces[numbers],
        **({"stack": numbers} if tree else {}),
        **{name: raw[name].astype(np.int64) for name in counts},
    })  # fmt: skip


def _phases(summary: _Summary, phases: Sequence[Phase]) -> pa.Table:
    points = summary.points.sum(axis=0)  # what vCPUs did between the same two marks adds up
    points[:, 0] = summary.points[0, :, 0]
    if len(points) % 2 or bool((points[::2, 0] != points[1::2, 0]).any()):
        raise ProbeLoss("a phase was opened and not closed", hint="the app's markers do not pair")
    windows = pd.DataFrame(points[1::2, 1:] - points[::2, 1:], columns=["raw", "rep_iterations", "idle_ns"])
    if bool((windows < 0).any(axis=None)):
        raise ProbeLoss("a phase ended before it began", hint=AGAIN)
    windows.index = pd.Index(points[::2, 0], name="number")
    if windows.index.has_duplicates:
        raise ProbeLoss("a phase was opened twice", hint="the app's markers do not pair")
    said = pd.DataFrame([vars(phase) for phase in phases], columns=list(Phase.__dataclass_fields__))
    both = said.set_index("number").join(windows, how="outer")
    unseen = both[both["raw"].isna() & (both["status"] == "ok")]
    unsaid = both[both["name"].isna()]
    if len(unseen) or len(unsaid):
        odd = ", ".join(str(number) for number in [*unseen.index, *unsaid.index])
        raise ProbeLoss(f"the app and the probe disagree on phase {odd}", hint="the app's markers do not pair")
    both["instructions"] = both["raw"] - both["rep_iterations"]
    if not summary.clock:
        both["idle_ns"] = pd.NA
    numbers = ["ops", "tsc", "instructions", "rep_iterations", "idle_ns"]
    both[numbers] = both[numbers].astype("Int64")
    return pa.Table.from_pandas(both.reset_index()[PHASES.names], schema=PHASES, preserve_index=False)


def _fired(hooks: Hooks, counts: Counts) -> dict[str, int]:
    totals = pd.Series(counts, dtype=np.int64).groupby(pd.Series(hooks.kinds, dtype=object)).sum()
    return {str(kind): int(total) for kind, total in totals.items()}


def _capabilities(summary: _Summary, hooks: Hooks, woken_run: bool) -> dict[str, dict[str, Any]]:
    """Say for this run what could be seen; see ``probes.exec.capabilities`` for a QEMU without a run."""
    from probes.exec.capabilities import NO_CLOCK, NO_GUEST, TABLE

    able = {name: {"available": True, "reason": ""} for name in TABLE}
    missing = {entry["what"].split()[0]: entry["reason"] for entry in hooks.not_hooked}
    for name, capability in TABLE.items():
        lacking = next((missing[hook] for hook in capability.hooks if hook in missing), "")
        if capability.never:
            able[name] = {"available": False, "reason": capability.never}
        elif lacking and not any(kind in capability.hooks for kind in hooks.kinds):
            able[name] = {"available": False, "reason": lacking}
        elif capability.needs_clock and not summary.clock:
            able[name] = {"available": False, "reason": NO_CLOCK}
        elif capability.needs_guest and not summary.guest:
            able[name] = {"available": False, "reason": NO_GUEST}
    if able["wake-ups"]["available"] and able["context switches"]["available"] and not woken_run:
        able["wake-ups"] = {"available": False, "reason": "what this kernel wakes are not the threads that it runs"}
    if not summary.exact:
        able["exact counts"] = {"available": False, "reason": "mode block takes each block to execute whole"}
    return able
