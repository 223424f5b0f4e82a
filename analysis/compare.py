"""Recordings of several guests, compared with one of them.  Views show what is here and compute nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from analysis import words
from analysis.align import CELL, Cells, align
from analysis.ledger import COSTS, Cost, GuestLedger, of_guest
from analysis.rank import Finding, rank
from analysis.statistics import FEW_SEEDS, Change
from probes.recording import Recording
from profiler.errors import NotComparable

if TYPE_CHECKING:
    import pandas as pd

MATERIAL: Final = 0.01
"""String bytes count in a headline from this many bytes per instruction of the phase."""
SHOWN_REPORTS: Final = ("mitigations", "pti", "clocksource", "vendor")
"""What a guest says of itself that can make a difference of its own; differences are shown above the findings."""


@dataclass(frozen=True)
class Guest:
    """A guest of the comparison."""

    spec: str
    kernel: str
    seeds: tuple[int, ...]
    runs: int  # different ledgers among the seeds
    reports: dict[str, str]


@dataclass(frozen=True)
class PhaseComparison:
    """One phase on two guests, per op.  ``findings`` explain instructions, ``byte_findings`` string bytes."""

    number: int
    name: str
    question: str
    op: str
    ops: int
    instructions: Change
    string_bytes: Change
    leads: Cost  # which cost changes relatively more
    headline: str
    differs: bool  # beyond the seed spread, in either cost
    findings: tuple[Finding, ...]
    byte_findings: tuple[Finding, ...]
    left_out: tuple[float, float]  # share of the emulator's layers in the instructions of each guest

    @property
    def in_order(self) -> tuple[Finding, ...]:
        """Both lists of findings, those of the cost that changes relatively more first."""
        return _in_order(self.leads, self.findings, self.byte_findings)


@dataclass(frozen=True)
class Pair:
    """One guest against the base.  Totals are over all ops of the phases compared, not per op."""

    base: Guest
    other: Guest
    instructions: Change
    string_bytes: Change
    leads: Cost
    headline: str
    differing_phases: tuple[int, ...]
    findings: tuple[Finding, ...]  # over the phases that differ, instructions
    byte_findings: tuple[Finding, ...]
    phases: tuple[PhaseComparison, ...]
    not_compared: tuple[tuple[str, str], ...]  # phase, why
    differing_reports: tuple[tuple[str, str, str], ...]  # key, base, other

    @property
    def in_order(self) -> tuple[Finding, ...]:
        """Both lists of findings, those of the cost that changes relatively more first."""
        return _in_order(self.leads, self.findings, self.byte_findings)


@dataclass(frozen=True)
class Comparison:
    """All guests against one."""

    app: str
    machine: str
    cpu: str
    qemu: str
    mode: str
    guests: tuple[Guest, ...]  # the base first
    pairs: tuple[Pair, ...]
    few_seeds: bool
    notes: tuple[str, ...]

    @property
    def base(self) -> Guest:
        """The guest that the others are held against."""
        return self.guests[0]


def compare(recordings: Sequence[Recording], against: str) -> Comparison:
    """Hold every guest against the guest ``against``.

    Raises ``NotComparable`` with the reason: another machine or app, another kind of counting, lost events, no such
    guest, nothing to hold against it.
    """
    guests: dict[str, list[Recording]] = {}
    for recording in recordings:
        guests.setdefault(recording.spec, []).append(recording)
    if against not in guests:
        there = ", ".join(sorted(guests)) or "none"
        raise NotComparable(f"there is no recording of guest {against}", hint=f"Recorded guests: {there}.")
    if len(guests) == 1:
        raise NotComparable(f"there are recordings of {against} only", hint="Record another guest and compare again.")
    check_comparable(recordings)
    first = guests[against][0].manifest

    ledgers: dict[tuple[str, tuple[int, ...]], GuestLedger] = {}

    def ledger(spec: str, phases: Sequence[int]) -> GuestLedger:
        """Made once for each set of phases: mostly the base is compared in all of them."""
        key = (spec, tuple(phases))
        if key not in ledgers:
            ledgers[key] = of_guest(guests[spec], phases)
        return ledgers[key]

    pairs = [_pair(guests[against], guests[spec], ledger) for spec in guests if spec != against]
    people = (pairs[0].base, *(pair.other for pair in pairs))
    few = min(guest.runs for guest in people) < FEW_SEEDS
    return Comparison(
        app=first["app"]["name"],
        machine=first["qemu"]["machine"],
        cpu=first["qemu"]["cpu"],
        qemu=first["qemu"]["version"],
        mode=first["probe"]["mode"],
        guests=people,
        pairs=tuple(pairs),
        few_seeds=few,
        notes=_notes(guests, people),
    )


def check_comparable(recordings: Sequence[Recording]) -> None:
    """Raise ``NotComparable`` unless all were made on the same machine, of the same app, in the same way, whole."""

    def same(what: str, get: Callable[[Recording], object], hint: str) -> None:
        found = sorted({str(get(recording)) for recording in recordings})
        if len(found) > 1:
            raise NotComparable(f"the recordings differ in {what}: {'; '.join(value[:200] for value in found[:3])}",
                                hint=hint)  # fmt: skip

    again = "Record all guests in one campaign, with the same options."
    same("QEMU version", lambda one: one.manifest["qemu"]["version"], again)
    same("machine", lambda one: one.manifest["qemu"]["machine"], again)
    same("CPU line", lambda one: one.manifest["qemu"]["cpu"], again)
    same("icount setting", lambda one: one.manifest["qemu"]["icount"], again)
    same("number of vCPUs", lambda one: one.manifest["qemu"]["vcpus"], again)
    same("app binary", lambda one: one.manifest["app"]["sha256"], "Compare recordings of one app at a time.")
    same("app arguments", lambda one: one.manifest["app"]["args"], "Record all guests with the same phases.")
    same("probe mode", lambda one: one.manifest["probe"]["mode"], again)
    kernels: dict[str, str] = {}
    places: dict[tuple[str, int], Recording] = {}
    for one in recordings:
        lost = one.manifest["probe"]["lost_events"]
        if lost:
            raise NotComparable(f"{one.directory} lost {lost} events", hint="Record it again.")
        digest = one.manifest["guest"]["kernel_sha256"]
        if kernels.setdefault(one.spec, digest) != digest:
            raise NotComparable(f"the recordings of {one.spec} are of different kernels", hint="Record it again.")
        first = places.setdefault((one.spec, one.seed), one)
        if first is not one:
            raise NotComparable(f"{one.spec} seed {one.seed} is there twice: {first.directory} and {one.directory}",
                                hint="Give the directory of one campaign.")  # fmt: skip


def _pair(bases: Sequence[Recording], others: Sequence[Recording],
          ledger: Callable[[str, Sequence[int]], GuestLedger]) -> Pair:  # fmt: skip
    names, phases, not_compared = _phases(bases, others)
    if not phases:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in not_compared[:5])
        raise NotComparable(f"no phase went well on both {bases[0].spec} and {others[0].spec} ({reasons})",
                            hint="See what `weaklink verify` says of the recordings.")  # fmt: skip
    base, other = ledger(bases[0].spec, phases), ledger(others[0].spec, phases)
    cells = {cost: align(base, other, cost) for cost in COSTS}
    declared = {phase["number"]: phase for phase in bases[0].manifest["app"]["phases"]}
    compared = []
    for number in phases:
        about = declared.get(number)
        question, op = (about["question"], about["op"]) if about else ("", "op")
        compared.append(_phase(number, names[number], question, op, base, other, cells))
    differing = tuple(phase.number for phase in compared if phase.differs)

    def whole(cost: Cost) -> Change:
        return Change(base.whole(cost, phases), other.whole(cost, phases))

    scale = {number: float((base.ops[number] + other.ops[number]) / 2) for number in phases}
    findings = {cost: _findings(cells, cost, differing or tuple(phases), scale, base.spec, other.spec, names)
                for cost in COSTS}  # fmt: skip
    leads = _leads(whole("instructions"), whole("rep_bytes"))
    # The other cost has findings of its own only where it differs as well; else they would rank what the seeds do.
    if leads == "rep_bytes" and whole("instructions").verdict != "differs":
        findings["instructions"] = ()
    if leads == "instructions" and not _material(whole("instructions"), whole("rep_bytes")):
        findings["rep_bytes"] = ()
    guests = [_guest(recordings, side) for recordings, side in ((bases, base), (others, other))]
    return Pair(
        base=guests[0],
        other=guests[1],
        instructions=whole("instructions"),
        string_bytes=whole("rep_bytes"),
        leads=leads,
        headline=words.headline(leads, whole(leads), "over all phases"),
        differing_phases=differing,
        findings=findings["instructions"],
        byte_findings=findings["rep_bytes"],
        phases=tuple(compared),
        not_compared=tuple(not_compared),
        differing_reports=tuple(
            (key, guests[0].reports.get(key, "not said"), guests[1].reports.get(key, "not said"))
            for key in SHOWN_REPORTS
            if guests[0].reports.get(key) != guests[1].reports.get(key)
        ),
    )


def _phases(bases: Sequence[Recording], others: Sequence[Recording]
            ) -> tuple[dict[int, str], list[int], list[tuple[str, str]]]:  # fmt: skip
    """Names of all phases, the numbers of those that were ok everywhere, and why the others are not compared."""
    names: dict[int, str] = {}
    bad: dict[int, str] = {}
    seen: dict[int, int] = {}
    for recording in (*bases, *others):
        frame = recording.phases
        for number, name, status, reason, ops in zip(
            *(frame[column].tolist() for column in ("number", "name", "status", "reason", "ops")), strict=True
        ):
            if names.setdefault(number, name) != name:
                raise NotComparable(f"phase {number} is {names[number]} in one recording and {name} in another",
                                    hint="Compare recordings of one app at a time.")  # fmt: skip
            seen[number] = seen.get(number, 0) + 1
            if status != "ok":
                bad.setdefault(number, _why(status, recording.spec, reason))
            elif ops <= 0:
                bad.setdefault(number, f"no ops on {recording.spec}")
    for number, times in seen.items():
        if times < len(bases) + len(others):
            bad.setdefault(number, "not in every recording")
    good = [number for number in sorted(names) if number not in bad]
    return names, good, [(names[number], bad[number]) for number in sorted(bad)]


def _why(status: str, spec: str, reason: str) -> str:
    """Say why a phase is not compared."""
    words = {"unsupported": "not supported by this guest", "failed": "failed"}
    return f"{words.get(status, status)}, {spec}" + (f": {reason}" if reason else "")


def _phase(number: int, name: str, question: str, op: str, base: GuestLedger, other: GuestLedger,
           cells: Mapping[Cost, Cells]) -> PhaseComparison:  # fmt: skip
    instructions = Change(base.total("instructions", number), other.total("instructions", number))
    string_bytes = Change(base.total("rep_bytes", number), other.total("rep_bytes", number))
    leads = _leads(instructions, string_bytes)
    findings = {cost: _findings(cells, cost, (number,), {number: 1.0}, base.spec, other.spec, {number: name})
                for cost in COSTS}  # fmt: skip
    lead = {"instructions": instructions, "rep_bytes": string_bytes}[leads]
    return PhaseComparison(
        number=number,
        name=name,
        question=question,
        op=op,
        ops=base.ops[number],
        instructions=instructions,
        string_bytes=string_bytes,
        leads=leads,
        headline=words.headline(leads, lead),
        differs=instructions.verdict == "differs"
        or (string_bytes.verdict == "differs" and _material(instructions, string_bytes)),
        findings=findings["instructions"],
        byte_findings=findings["rep_bytes"] if _material(instructions, string_bytes) else (),
        left_out=(base.left_out.get(number, 0.0), other.left_out.get(number, 0.0)),
    )


def _findings(cells: Mapping[Cost, Cells], cost: Cost, phases: Sequence[int], scale: Mapping[int, float], base: str,
              other: str, names: Mapping[int, str]) -> tuple[Finding, ...]:  # fmt: skip
    """The findings of some phases, each phase times its scale, with their sentences."""
    mine, companion = cells[cost], cells[COSTS[1 - COSTS.index(cost)]]
    numbers = mine.frame["phase"].to_numpy()
    rows = np.flatnonzero(np.isin(numbers, list(phases)))
    weights = np.array([scale.get(int(number), 0.0) for number in numbers])
    found = rank(mine, rows, weights, _weighted(companion.frame, scale))
    per_op = len(phases) == 1 and scale.get(phases[0]) == 1.0
    return tuple(replace(one, sentence=words.sentence(one, base, other, names, len(phases), per_op)) for one in found)


def _weighted(frame: pd.DataFrame, scale: Mapping[int, float]) -> dict[tuple[object, ...], float]:
    frame = frame[(frame["delta"] != 0) & frame["phase"].isin(list(scale))]
    keys = zip(*(frame[column].tolist() for column in CELL), strict=True)
    return {key: delta * scale[key[0]] for key, delta in zip(keys, frame["delta"].tolist(), strict=True)}


def _in_order(leads: Cost, *lists: tuple[Finding, ...]) -> tuple[Finding, ...]:
    ordered = lists if leads == "instructions" else lists[::-1]
    return tuple(finding for findings in ordered for finding in findings)


def _material(instructions: Change, string_bytes: Change) -> bool:
    return abs(string_bytes.delta) >= MATERIAL * max(instructions.base.mean, instructions.other.mean)


def _leads(instructions: Change, string_bytes: Change) -> Cost:
    """The cost that changes relatively more, if it is one that matters and is not merely another seed."""
    if string_bytes.verdict != "differs" or not _material(instructions, string_bytes):
        return "instructions"
    if instructions.verdict != "differs":
        return "rep_bytes"
    relative = [abs(change.delta) / max(change.base.mean, change.other.mean) for change in (instructions, string_bytes)]
    return "rep_bytes" if relative[1] > relative[0] else "instructions"


def _guest(recordings: Sequence[Recording], ledger: GuestLedger) -> Guest:
    first = min(recordings, key=lambda one: one.seed)
    return Guest(
        spec=ledger.spec,
        kernel=first.manifest["guest"]["kernel_version"],
        seeds=ledger.seeds,
        runs=len(ledger.runs),
        reports=dict(first.manifest["guest_reports"]),
    )


def _notes(guests: Mapping[str, Sequence[Recording]], people: Sequence[Guest]) -> tuple[str, ...]:
    notes = []
    fewest = min(guest.runs for guest in people)
    if fewest == 1:
        notes.append("few seeds: one run of a guest has no spread, so nothing says what another seed would move; "
                     f"{FEW_SEEDS} make a spread to rely on")  # fmt: skip
    elif fewest < FEW_SEEDS:
        notes.append(f"few seeds: the spread shown is over {fewest} different runs, which is a lower bound; "
                     f"{FEW_SEEDS} make it one to rely on")  # fmt: skip
    alike = [guest.spec for guest in people if guest.runs == 1 and len(guest.seeds) > 1]
    if alike:
        notes.append(f"all seeds gave the same ledger, which counts as one run: {', '.join(alike)}")
    # A seed may vary the size of memory; it matters if the guests did not run with the same sizes.
    memory = {tuple(sorted({one.manifest["qemu"]["memory_mib"] for one in ones})) for ones in guests.values()}
    if len(memory) > 1:
        sizes = "; ".join(f"{spec}: {sorted({one.manifest['qemu']['memory_mib'] for one in ones})}"
                          for spec, ones in guests.items())  # fmt: skip
        notes.append(f"memory differs between guests, in MiB: {sizes}")
    lacking = sorted({f"{name} ({one.manifest['probe']['capabilities'][name]['reason']})" for ones in guests.values()
                      for one in ones for name in one.manifest["probe"]["capabilities"]
                      if not one.manifest["probe"]["capabilities"][name]["available"]})  # fmt: skip
    if lacking:
        notes.append(f"not seen by the probe here: {', '.join(lacking[:4])}")
    return tuple(notes)
