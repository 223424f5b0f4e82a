"""Whether a recording adds up: against itself, against the app's own clock, and against what the app is known to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from analysis.calls import phase_calls
from probes.events import EVENT_KINDS, LAYERS, ROLES
from probes.recording import Recording
from profiler.errors import RecordingInvalid

if TYPE_CHECKING:
    import pandas as pd

CLOCK_TOLERANCE: Final = 100
"""Instructions by which the app's RDTSC delta may differ from the ledger: what lies between marker and RDTSC."""
CLOCK_TOLERANCE_BLOCK: Final = 0.005
"""In block mode, a share: blocks that a fault cuts short are counted whole."""
UNATTRIBUTED: Final = 0.03
"""The share of a phase's kernel instructions that may be in no named layer; more is a warning."""
SHOWN: Final = 6
"""Differences named one by one in a detail."""

_OPERATION: Final = re.compile(r"(deferred:)?(_*[a-z][a-z0-9_]*|page-fault)|interrupt|background|user")


@dataclass(frozen=True)
class Check:
    """The outcome of one check.  ``warn`` marks an outcome worth reading that is no failure."""

    name: str
    ok: bool
    detail: str
    warn: bool = False


def verify(recording: Recording) -> list[Check]:
    """All checks of one recording.  Raises ``RecordingInvalid`` if a table cannot be read at all."""
    phases = recording.phases.set_index("number").sort_index()
    ledger = recording.ledger
    return [
        _lost(recording),
        *_vocabulary(recording, ledger),
        _not_negative(ledger),
        *_conservation(phases, ledger),
        _statuses(phases),
        _clock(recording, phases),
        _ops(recording, phases),
        _calls(recording, phases),
        _coverage(ledger, phases),
    ]


def _lost(recording: Recording) -> Check:
    lost = recording.manifest["probe"]["lost_events"]
    return Check("no lost events", lost == 0, f"{lost} lost")


def _vocabulary(recording: Recording, ledger: pd.DataFrame) -> Iterator[Check]:
    kinds = recording.frame("events", ["kind"])["kind"].cat.categories
    wanted = {"role": ROLES, "layer": LAYERS, "space": ("user", "kernel")}
    strange = [f"{column} {value!r:.40}" for column, names in wanted.items()
               for value in ledger[column].cat.categories if value not in names]  # fmt: skip
    strange += [f"operation {value!r:.40}" for value in ledger["operation"].cat.categories
                if not _OPERATION.fullmatch(value)]  # fmt: skip
    strange += [f"event {value!r:.40}" for value in kinds if value not in EVENT_KINDS]
    yield Check("known words", not strange, _listed(strange) or "roles, layers, operations and events are known")


def _not_negative(ledger: pd.DataFrame) -> Check:
    counts = ["instructions", "calls", "rep_iterations", "rep_bytes", "idle_ns"]
    bad = int((ledger[counts] < 0).any(axis=1).sum())
    return Check("no negative cells", bad == 0, f"{bad} of {len(ledger):,} cells")


def _conservation(phases: pd.DataFrame, ledger: pd.DataFrame) -> Iterator[Check]:
    """Cells of each phase add up to the probe's own totals, exactly."""
    sums = ledger.groupby("phase")[["instructions", "rep_iterations", "idle_ns"]].sum()
    homeless = sorted(set(sums.index) - set(phases.index))
    yield Check("cells belong to phases", not homeless, f"phases without a row: {homeless}" if homeless else
                f"{len(phases)} phases, {len(ledger):,} cells")  # fmt: skip
    sums = sums.reindex(phases.index, fill_value=0)
    for column in ("instructions", "rep_iterations", "idle_ns"):
        off = [f"{name}: cells {cells:,}, window {window:,}" for name, cells, window in
               zip(phases["name"], sums[column], phases[column], strict=True) if cells != window]  # fmt: skip
        detail = _listed(off) or f"{int(phases[column].sum()):,} in {len(phases)} phases, to the last one"
        yield Check(f"{column} add up", not off, detail)


def _statuses(phases: pd.DataFrame) -> Check:
    said = [f"{name}: {status} {reason}".rstrip() for name, status, reason in
            zip(phases["name"], phases["status"], phases["reason"], strict=True) if status != "ok"]  # fmt: skip
    failed = ~phases["status"].isin(["ok", "unsupported"])
    return Check("phases went well", not failed.any(), _listed(said) or f"all {len(phases)} ok", warn=bool(said))


def _ok(phases: pd.DataFrame) -> pd.DataFrame:
    return phases[phases["status"] == "ok"]


def _clock(recording: Recording, phases: pd.DataFrame) -> Check:
    """The app read the TSC beside the markers; under icount that is the probe's clock, seen from the guest."""
    good = _ok(phases)
    raw = good["instructions"] + good["rep_iterations"] + good["idle_ns"]
    difference = (good["tsc"] - raw).abs()
    if recording.manifest["probe"]["mode"] == "exact":
        allowed, words = difference * 0 + CLOCK_TOLERANCE, f"{CLOCK_TOLERANCE} allowed"
    else:
        allowed = (raw * CLOCK_TOLERANCE_BLOCK).clip(lower=CLOCK_TOLERANCE)
        words = f"{CLOCK_TOLERANCE_BLOCK:.1%} allowed in block mode"
    off = [f"{name}: TSC {tsc:,}, ledger {total:,} ({tsc - total:+,})" for name, tsc, total, is_off in
           zip(good["name"], good["tsc"], raw, difference > allowed, strict=True) if is_off]  # fmt: skip
    largest = int(difference.max()) if len(difference) else 0
    return Check("the app's TSC agrees", not off, f"{_listed(off) or f'largest difference {largest:,}'}; {words}")


def _ops(recording: Recording, phases: pd.DataFrame) -> Check:
    declared = {phase["number"]: phase["ops"] for phase in recording.manifest["app"]["phases"]}
    good = _ok(phases)
    off = [f"{name}: {ops:,} done, {declared.get(int(number), 'none')} declared" for number, name, ops in
           zip(good.index, good["name"], good["ops"], strict=True) if declared.get(int(number)) != ops]  # fmt: skip
    missing = [phase["name"] for phase in recording.manifest["app"]["phases"] if phase["number"] not in phases.index]
    off += [f"{name}: not run" for name in missing]
    return Check("ops as declared", not off, _listed(off) or f"{int(good['ops'].sum()):,} ops in {len(good)} phases")


def _calls(recording: Recording, phases: pd.DataFrame) -> Check:
    """Entries of each operation, against what the app is known to call.  Operations that it declares to vary pass."""
    try:
        seen = phase_calls(recording)
    except RecordingInvalid as error:
        return Check("calls as declared", False, str(error))
    off: list[str] = []
    agreed = 0
    for phase in recording.manifest["app"]["phases"]:
        number = phase["number"]
        if number not in phases.index or phases.at[number, "status"] != "ok":
            continue
        here = _of_phase(seen, number)
        # What an app does not declare, the kernel does on its own: faults, interrupts.
        for operation in ("page-fault", "interrupt"):
            if operation not in phase["calls"]:
                here.pop(operation, None)
        for operation in sorted((here.keys() | phase["calls"].keys()) - set(phase["varies"])):
            expected, found = phase["calls"].get(operation, 0), here.get(operation, 0)
            agreed += expected == found
            if expected != found:
                off.append(f"{phase['name']}: {operation} expected {expected:,}, seen {found:,}")
    return Check("calls as declared", not off, "; ".join(off) or f"{agreed} counts agree")


def _of_phase(seen: pd.Series[int], number: int) -> dict[str, int]:
    inside = seen[seen.index.get_level_values("phase") == number]
    names = inside.index.get_level_values("operation")
    return {str(operation): int(calls) for operation, calls in zip(names, inside.to_numpy(), strict=True)}


def _coverage(ledger: pd.DataFrame, phases: pd.DataFrame) -> Check:
    """A new kernel package may bring functions that no rule of the map knows: worth a look, no reason to stop."""
    kernel = ledger[ledger["space"] == "kernel"]
    whole = kernel.groupby("phase")["instructions"].sum()
    lost = kernel[kernel["layer"] == "unattributed"].groupby("phase")["instructions"].sum()
    share = (lost.reindex(whole.index, fill_value=0) / whole.where(whole > 0, 1)).sort_values(ascending=False)
    names = phases["name"].to_dict()
    over = share[share > UNATTRIBUTED]
    shown = over if len(over) else share.head(1)
    listed = _listed([f"{names.get(number, number)} {value:.2%}" for number, value in shown.items()])
    detail = f"kernel instructions in no named layer: {'' if len(over) else 'at most '}{listed or 'none'}"
    return Check("coverage", True, detail, warn=bool(len(over)))


def _listed(items: list[str]) -> str:
    rest = len(items) - SHOWN
    return "; ".join(items[:SHOWN]) + (f"; and {rest} more" if rest > 0 else "")
