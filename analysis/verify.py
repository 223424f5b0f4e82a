"""Whether a recording adds up: against itself, against the app's own clock, and against what the app is known to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from analysis.calls import INTERRUPT, PAGE_FAULT, phase_calls
from analysis.vcpus import statistical
from probes.events import COSTLY_INSTRUCTIONS, EVENT_KINDS, LAYERS, ROLES
from probes.recording import Recording

if TYPE_CHECKING:
    import pandas as pd

CLOCK_TOLERANCE: Final = 100
"""Instructions by which the app's RDTSC delta may differ from the ledger: what lies between marker and RDTSC."""
CLOCK_TOLERANCE_BLOCK: Final = 0.005
"""In block mode, a share: blocks that a fault cuts short are counted whole (docs/probe.md)."""
EDGE_CALLS: Final = 16
EDGE_SHARE: Final = 0.02
"""Of several vCPUs: calls of an operation, or their share, that may be off: other threads go on at a window's edges."""
UNATTRIBUTED: Final = 0.03
"""The share of a phase's kernel instructions that may be in no named layer; more is a warning."""
SHOWN: Final = 6
"""Differences named one by one in a detail."""

_OPERATION: Final = re.compile(r"(deferred:)?(_*[a-z][a-z0-9_]*|page-fault)|interrupt|background|user")


@dataclass(frozen=True)
class Check:
    """The outcome of one check, of one phase or of the whole recording.

    ``warn`` marks an outcome worth reading that is no failure.
    """

    name: str
    ok: bool
    detail: str
    phase: str | None = None
    warn: bool = False


def verify(recording: Recording) -> list[Check]:
    """All checks of one recording.  Raises ``RecordingInvalid`` if a table cannot be read at all."""
    phases = recording.phases.set_index("number").sort_index()
    ledger = recording.ledger
    return [
        _lost(recording),
        _in_step(recording),
        *_several(recording, phases),
        _vocabulary(recording, ledger),
        _not_negative(ledger),
        _costly(recording, ledger),
        *_conservation(phases, ledger),
        *_stacks(recording, ledger),
        *_statuses(phases),
        *_clock(recording, phases),
        *_ops(recording, phases),
        _counted(recording),
        *_calls(recording, phases),
        *_coverage(ledger, phases),
    ]


def _lost(recording: Recording) -> Check:
    lost = recording.manifest["probe"]["lost_events"]
    return Check("no lost events", lost == 0, f"{lost} lost")


def _in_step(recording: Recording) -> Check:
    """The probe always knew which thread was running, and came back from the kernel as often as it went in."""
    odd = {name: count for name, count in recording.manifest["probe"]["trouble"].items() if count}
    return Check("probe in step", not odd, ", ".join(f"{count} {name}" for name, count in odd.items()) or "always")


def _several(recording: Recording, phases: pd.DataFrame) -> Iterator[Check]:
    """Of several vCPUs: what their own counters say adds up to the window, as the cells do."""
    said = statistical(recording.manifest)
    if not said:
        return
    yield Check("exactness", True, said, warn=True)
    columns = ["instructions", "rep_iterations", "idle_ns"]
    counters: dict[int, list[int]] = {}
    for one in recording.manifest["probe"].get("vcpus", []):
        mine, sums = (one["instructions"], one["rep_iterations"], one["idle_ns"]), counters.get(one["phase"], [0, 0, 0])
        counters[one["phase"]] = [total + more for total, more in zip(sums, mine, strict=True)]
    seen = phases[phases["instructions"].notna()]
    for number, name, *window in zip(seen.index.tolist(), seen["name"], *(seen[one] for one in columns), strict=True):
        counted = counters.get(number, [0, 0, 0])
        detail = f"vCPUs {counted[0]:,}, window {window[0]:,} instructions"
        yield Check("vCPUs add up", counted == window, detail, phase=name)


def _vocabulary(recording: Recording, ledger: pd.DataFrame) -> Check:
    kinds = {kind for batch in recording.batches("events", ["kind"]) for kind in batch.column(0).dictionary.to_pylist()}
    wanted = {"role": ROLES, "layer": LAYERS, "space": ("user", "kernel")}
    strange = [f"{column} {value!r:.40}" for column, names in wanted.items()
               for value in ledger[column].cat.categories if value not in names]  # fmt: skip
    strange += [f"operation {value!r:.40}" for value in ledger["operation"].cat.categories
                if not _OPERATION.fullmatch(value)]  # fmt: skip
    strange += [f"event {value!r:.40}" for value in sorted(kinds) if value not in EVENT_KINDS]
    return Check("known words", not strange, _listed(strange) or "roles, layers, operations and events are known")


def _not_negative(ledger: pd.DataFrame) -> Check:
    counts = ["instructions", "calls", "rep_iterations", "rep_bytes", "idle_ns"]
    bad = int((ledger[counts] < 0).any(axis=1).sum())
    return Check("no negative cells", bad == 0, f"{bad} of {len(ledger):,} cells")


def _costly(recording: Recording, ledger: pd.DataFrame) -> Check:
    """A cell has no more costly instructions than instructions; accesses to devices are made by others of its own."""
    name, keys = "costly instructions are of the cells", ["phase", "role", "operation", "layer", "function", "space"]
    costly = recording.frame("costly").astype(dict.fromkeys([*keys[1:], "instruction"], object))
    strange = sorted(set(costly["instruction"]) - set(COSTLY_INSTRUCTIONS))
    if strange:
        return Check(name, False, _listed([f"{word!r:.40}" for word in strange]))
    executed = costly[costly["instruction"] != "mmio"].groupby(keys)["count"].sum()
    cells = ledger.astype(dict.fromkeys(keys[1:], object)).groupby(keys)["instructions"].sum()
    bad = int((executed > cells.reindex(executed.index, fill_value=0)).sum() + (costly["count"] <= 0).sum())
    return Check(name, bad == 0, f"{bad} of {len(executed):,} cells" if bad else f"{len(costly):,} counts")


def _conservation(phases: pd.DataFrame, ledger: pd.DataFrame) -> Iterator[Check]:
    """Cells of each phase add up to the probe's own totals, exactly."""
    columns = ["instructions", "rep_iterations", "idle_ns"]
    sums = ledger.groupby("phase")[columns].sum()
    homeless = sorted(set(sums.index.tolist()) - set(phases.index.tolist()))
    yield Check("cells belong to phases", not homeless, f"cells of undeclared phases {homeless}" if homeless else
                f"{len(ledger):,} cells, {len(phases)} phases")  # fmt: skip
    sums = sums.reindex(phases.index, fill_value=0)
    for column in columns:
        known = phases[column].notna()
        for name, cells, window in zip(phases["name"][known], sums[column][known], phases[column][known], strict=True):
            detail = f"cells {cells:,}, window {window:,}"
            yield Check(f"{column} add up", cells == window, detail, phase=name)


def _stacks(recording: Recording, ledger: pd.DataFrame) -> Iterator[Check]:
    """Where call stacks were kept, all stacks that end in a function add up to the ledger's cells of it."""
    probe = recording.manifest["probe"]
    if not probe.get("stacks"):
        return
    keys = ["phase", "role", "operation", "layer", "function", "space"]
    counts = ["instructions", "calls", "rep_iterations", "rep_bytes", "idle_ns"]
    stacks, frames = recording.frame("stacks"), recording.frame("frames")
    both = stacks.merge(frames, left_on="stack", right_on="frame", how="left")
    lost = int(both["function"].isna().sum())
    sums = [frame.astype(dict.fromkeys(keys[1:], str)).groupby(keys)[counts].sum() for frame in (both, ledger)]
    off = sums[0].sub(sums[1], fill_value=0).astype("int64").any(axis=1)
    detail = f"{int(off.sum())} cells differ, {lost} stacks without a function" if lost or off.any() else (
        f"{len(stacks):,} stacks, {len(ledger):,} cells")  # fmt: skip
    yield Check("stacks add up to the ledger", not lost and not off.any(), detail)
    odd = {name: probe.get("stacks_seen", {}).get(name, 0) for name in ("resync", "full")}
    told = {"resync": "returns or jumps that nothing explains", "full": "calls for which there was no room"}
    said = ", ".join(f"{count:,} {told[name]}" for name, count in odd.items() if count)
    yield Check("stacks in step", True, said or "always", warn=bool(said))


def _statuses(phases: pd.DataFrame) -> Iterator[Check]:
    for name, status, reason in zip(phases["name"], phases["status"], phases["reason"], strict=True):
        detail = f"{status}: {reason}" if reason else status
        yield Check("status", status in ("ok", "unsupported"), detail, phase=name, warn=status != "ok")


def _ok(phases: pd.DataFrame) -> pd.DataFrame:
    return phases[phases["status"] == "ok"]


def _clock(recording: Recording, phases: pd.DataFrame) -> Iterator[Check]:
    """The app read the TSC beside the markers; under icount that is the probe's clock, seen from the guest."""
    if statistical(recording.manifest):
        yield Check("the app's TSC agrees", True, "does not apply: several vCPUs share no such clock", warn=True)
        return
    exact = recording.manifest["probe"]["mode"] == "exact"
    good = _ok(phases)
    if good["tsc"].isna().any():
        yield Check("the app's TSC agrees", True, "cannot be checked: the program does not read it", warn=True)
        good = good[good["tsc"].notna()]
    if good["idle_ns"].isna().any():
        reason = recording.manifest["probe"]["capabilities"].get("idle time", {"reason": "not recorded"})["reason"]
        yield Check("the app's TSC agrees", True, f"cannot be checked: {reason}", warn=True)
        return
    raw = good["instructions"] + good["rep_iterations"] + good["idle_ns"]
    for name, tsc, total in zip(good["name"], good["tsc"], raw, strict=True):
        allowed = clock_tolerance(total, exact=exact)
        detail = f"TSC {tsc:,}, ledger {total:,}: {tsc - total:+,}, {allowed:,} allowed"
        yield Check("the app's TSC agrees", abs(tsc - total) <= allowed, detail, phase=name)


def clock_tolerance(total: int, *, exact: bool) -> int:
    """Instructions by which the app's clock may differ from a window of ``total`` instructions and idle ns."""
    return CLOCK_TOLERANCE if exact else max(CLOCK_TOLERANCE, round(total * CLOCK_TOLERANCE_BLOCK))


def _ops(recording: Recording, phases: pd.DataFrame) -> Iterator[Check]:
    columns = phases["status"], phases["ops"], phases["name"]
    done = dict(zip(phases.index.tolist(), zip(*columns, strict=True), strict=True))
    declared = recording.manifest["app"]["phases"]
    for phase in declared:
        status, ops, name = done.get(phase["number"], ("not run", 0, ""))
        if status == "not run":
            yield Check("ops as declared", False, "not run", phase=phase["name"])
        elif name != phase["name"]:
            detail = f"the app calls phase {phase['number']} {name}, and declares {phase['name']}"
            yield Check("ops as declared", False, detail, phase=phase["name"])
        elif status == "ok":
            detail = f"{ops:,} done, {phase['ops']:,} declared"
            yield Check("ops as declared", ops == phase["ops"], detail, phase=phase["name"])
    strangers = phases[~phases.index.isin([phase["number"] for phase in declared])]
    for name in strangers["name"]:
        yield Check("ops as declared", False, "the app does not declare this phase", phase=name)


def _counted(recording: Recording) -> Check:
    """The table of calls is what the events say, of the phases whose events were kept."""
    kept = recording.events_kept
    table, again = recording.calls, recording.counted()
    if kept is not None:
        table = table[table["phase"].isin(list(kept))]
    of_table, of_events = (
        {(int(p), str(o)): int(c) for p, o, c in zip(t["phase"], t["operation"], t["calls"], strict=True)}
        for t in (table, again)
    )
    off = sorted({key for key in of_table.keys() | of_events.keys() if of_table.get(key) != of_events.get(key)})
    detail = _listed([f"{operation} of phase {number}: table {of_table.get((number, operation), 0):,}, events"
                      f" {of_events.get((number, operation), 0):,}" for number, operation in off])  # fmt: skip
    whole = "all phases" if kept is None else f"{len(kept)} phases whose events were kept"
    return Check("calls and events agree", not off, detail or f"in {whole}")


def _calls(recording: Recording, phases: pd.DataFrame) -> Iterator[Check]:
    """Entries of each operation, against what the app is known to call.  Operations that it declares to vary pass."""
    if "window" in recording.manifest:
        return  # a program of the user's: nobody has declared what it calls
    seen, several = phase_calls(recording), bool(statistical(recording.manifest))
    for phase in recording.manifest["app"]["phases"]:
        number = phase["number"]
        if number not in phases.index or phases.at[number, "status"] != "ok":
            continue
        here, declared = _of_phase(seen, number), phase.get("calls")
        # What an app does not declare, the kernel does on its own: faults, interrupts.
        for operation in (PAGE_FAULT, INTERRUPT):
            if operation not in (declared or {}):
                here.pop(operation, None)
        if declared is None:
            said = ", ".join(f"{operation} = {found}" for operation, found in sorted(here.items()))
            said = f"none are declared; seen: {{ {said} }}"
            yield Check("calls as declared", True, said, phase=phase["name"], warn=True)
            continue
        checked = sorted((here.keys() | declared.keys()) - set(phase["varies"]))
        pairs = {operation: (declared.get(operation, 0), here.get(operation, 0)) for operation in checked}
        off = [f"{operation} expected {expected:,}, seen {found:,}" for operation, (expected, found) in pairs.items()
               if expected != found]  # fmt: skip
        agreed = ", ".join(f"{operation} {found:,}" for operation, (_, found) in pairs.items()) or "none"
        good = not off or (several and all(_few(expected, found) for expected, found in pairs.values()))
        yield Check("calls as declared", good, "; ".join(off) or agreed, phase=phase["name"], warn=bool(off))


def _few(expected: int, found: int) -> bool:
    """Whether no more is off than what threads on other vCPUs do where a window opens and closes."""
    return abs(found - expected) <= max(EDGE_CALLS, expected * EDGE_SHARE)


def _of_phase(seen: pd.Series[int], number: int) -> dict[str, int]:
    inside = seen[seen.index.get_level_values("phase") == number]
    names = inside.index.get_level_values("operation")
    return {str(operation): int(calls) for operation, calls in zip(names, inside.to_numpy(), strict=True)}


def _coverage(ledger: pd.DataFrame, phases: pd.DataFrame) -> Iterator[Check]:
    """A new kernel package may bring functions that no rule of the map knows: worth a look, no reason to stop."""
    kernel = ledger[ledger["space"] == "kernel"]
    whole = kernel.groupby("phase")["instructions"].sum()
    lost = kernel[kernel["layer"] == "unattributed"].groupby("phase")["instructions"].sum()
    share = lost.reindex(whole.index, fill_value=0) / whole.where(whole > 0, 1)
    names = phases["name"].to_dict()
    for number, value in share.items():
        detail = f"{100 * value:.2f} % of the kernel's instructions are in no named layer"
        yield Check("coverage", True, detail, phase=str(names.get(number, number)), warn=bool(value > UNATTRIBUTED))


def _listed(items: list[str]) -> str:
    rest = len(items) - SHOWN
    return "; ".join(items[:SHOWN]) + (f"; and {rest} more" if rest > 0 else "")
