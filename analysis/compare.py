"""Recordings of several guests, compared with one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from analysis import prices, words
from analysis.align import Cells, align
from analysis.columns import phases as rows_of
from analysis.comparable import ASIDE, Scope, check_comparable, differing_reports, scope
from analysis.comparison import Comparison, Guest, Pair, PhaseComparison
from analysis.costly import differing as costly
from analysis.cycles import Model
from analysis.ledger import COSTS, Cost, GuestLedger, of_guest
from analysis.link import costliest
from analysis.overview import overview
from analysis.prices import PriceList
from analysis.rank import Finding, rank
from analysis.statistics import FEW_SEEDS, Change
from analysis.text import listed
from analysis.vcpus import statistical
from probes.recording import Recording
from profiler.errors import NotComparable

MATERIAL: Final = 0.01
"""String bytes count in a headline from this many bytes per instruction of the phase."""
LEAST: Final = 3
"""Findings over the whole app in instructions, even if the first is nearly all: what comes next is worth knowing."""
CLEAR: Final = 0.05
"""Instructions lead where they change by this share: what moves fewer bytes by string instructions may move as many."""


class _Side:
    """A guest with its recordings: which phases it has, and why not others."""

    def __init__(self, recordings: Sequence[Recording], measure: Scope) -> None:
        self.recordings = sorted(recordings, key=lambda one: one.seed)
        self.names: dict[int, str] = {}
        self.bad: dict[int, str] = {}
        seen: dict[int, int] = {}
        columns = ("number", "name", "status", "reason", "ops")
        tables = [rows_of(one, columns) for one in self.recordings]
        for one, rows in zip(self.recordings, tables, strict=True):
            for number, name, status, reason, ops in rows:
                if self.names.setdefault(number, name) != name:
                    raise _other_phases(number, self.names[number], name)
                seen[number] = seen.get(number, 0) + 1
                if status != "ok":
                    self.bad.setdefault(number, _why(status, one.spec, reason))
                elif ops <= 0:
                    self.bad.setdefault(number, f"no ops on {one.spec}")
        for number, times in seen.items():
            if times < len(self.recordings):
                self.bad.setdefault(number, "not in every recording")
        self.good = [number for number in sorted(self.names) if number not in self.bad]
        self.measure = measure
        did = [{row[0]: row[4] for row in rows} for rows in tables]
        self.ledger = of_guest(self.recordings, self.good, aside=measure.aside, did=did) if self.good else None

    @property
    def first(self) -> Recording:
        return self.recordings[0]

    def guest(self) -> Guest:
        manifest = self.first.manifest
        about = manifest["guest"]
        return Guest(
            spec=self.first.spec,
            kernel=about["kernel_version"],
            seeds=tuple(one.seed for one in self.recordings),
            runs=len(self.ledger.runs) if self.ledger else len(self.recordings),
            reports=dict(manifest["guest_reports"]),
            machine=manifest["qemu"]["machine"],
            provenance=about["provenance"],
            runtime=about["runtime"],
            fair=str(about.get("fair", "")),
        )


def compare(recordings: Sequence[Recording], against: str, lists: Sequence[PriceList] | None = None) -> Comparison:
    """Hold every guest against the guest ``against``, and model cycles with ``lists`` (all there are, if None).

    Raises ``NotComparable`` with the reason: another CPU line or app, another kind of counting, lost events, no such
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
    specs = [against, *(spec for spec in guests if spec != against)]
    measure = scope({spec: guests[spec][0] for spec in specs})
    sides = [_Side(guests[spec], measure) for spec in specs]
    lists = [prices.load(name) for name in prices.names()] if lists is None else lists
    paired = [_pair(sides[0], side, lists) for side in sides[1:]]
    first = sides[0].first.manifest
    people = tuple(side.guest() for side in sides)
    names = {number: name for side in reversed(sides) for number, name in side.names.items()}
    return Comparison(
        app=first["app"]["name"],
        cpu=first["qemu"]["cpu"],
        qemu=first["qemu"]["version"],
        mode=first["probe"]["mode"],
        guests=people,
        overview=overview(
            names,
            paired[0][1][0] if not sides[0].ledger else sides[0].ledger,
            [ledgers for _, ledgers in paired],
            [side.bad for side in sides],
            MATERIAL,
        ),
        pairs=tuple(pair for pair, _ in paired),
        few_seeds=any(guest.few for guest in people),
        notes=_notes(guests, people, measure, [pair for pair, _ in paired]),
        prices=tuple(lists),
    )


def _apart(base: GuestLedger, other: GuestLedger) -> set[tuple[int, str]]:
    """The (phase, operation) in which libc, which is not compared, cannot be told from what is.

    On one side it is mostly libc that answers, and on the other the kernel, which is the libc; or here it is libc
    alone, and there the vDSO.
    """
    if not base.aside:
        return set()
    found = set()
    for one, two in ((base, other), (other, base)):
        if two.libc_in_kernel and not one.libc_in_kernel:
            found |= one.mostly_libc & two.places.keys()
        found |= {key for key, place in one.places.items() if place == "libc" and two.places.get(key) == "user"}
    return found


def _pair(base_side: _Side, other_side: _Side, lists: Sequence[PriceList]
          ) -> tuple[Pair, tuple[GuestLedger, GuestLedger]]:  # fmt: skip
    """Two guests compared, and their ledgers as they are compared: of each, all phases that it has."""
    names, phases, not_compared = _phases(base_side, other_side)
    guests = base_side.guest(), other_side.guest()
    if not phases or not base_side.ledger or not other_side.ledger:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in not_compared[:5])
        raise NotComparable(f"no phase went well on both {guests[0].spec} and {guests[1].spec} ({reasons})",
                            hint="See what `weaklink verify` says of the recordings.")  # fmt: skip
    out = _apart(base_side.ledger, other_side.ledger)
    ledgers = base_side.ledger.without(out), other_side.ledger.without(out)
    base, other = (ledger.only(phases) for ledger in ledgers)
    aside = base_side.measure.aside
    alike = base_side.first.manifest["guest"]["kind"] == other_side.first.manifest["guest"]["kind"]
    kernels = [side.first.manifest["guest"]["kernel_sha256"] for side in (base_side, other_side)]
    cells = {cost: align(base, other, cost, alike and kernels[0] == kernels[1]) for cost in COSTS}
    model = Model(base, other, lists)
    declared = {phase["number"]: phase for phase in base_side.first.manifest["app"]["phases"]}
    compared = []
    for number in phases:
        about = declared.get(number)
        question, op = (about["question"], about["op"]) if about else ("", "op")
        compared.append(_phase(number, names[number], question, op, base, other, cells, model, aside, alike))
    differing = tuple(phase.number for phase in compared if phase.differs)
    ops = {number: float(base.ops[number]) for number in phases}
    whole = {cost: Change(base.whole(cost, ops), other.whole(cost, ops)) for cost in COSTS}
    leads = _leads(whole["instructions"], whole["rep_bytes"], alike)
    # The other cost has findings of its own only where it differs as well; else they would rank what the seeds do.
    wanted = {"instructions": leads == "instructions" or whole["instructions"].verdict == "differs",
              "rep_bytes": leads == "rep_bytes" or _material(whole["instructions"], whole["rep_bytes"])}  # fmt: skip
    findings = {cost: _findings(cells, cost, differing or tuple(phases), ops, base, other, model, names, whole[cost])
                if wanted[cost] else () for cost in COSTS}  # fmt: skip
    worst = max((phase for phase in compared if phase.instructions.verdict == "differs" and not any(phase.in_libc)),
                key=lambda phase: phase.instructions.ratio or 0.0, default=None)  # fmt: skip
    worst = worst if worst and worst.instructions.delta > 0 else None
    link = costliest(cells["instructions"], {number: ops[number] for number in differing})
    told = words.links(worst, link, names, whole["instructions"], base.spec, other.spec)
    pair = Pair(
        base=guests[0],
        other=guests[1],
        instructions=whole["instructions"],
        string_bytes=whole["rep_bytes"],
        leads=leads,
        headline=words.headline(leads, whole[leads], "over all phases") + _within(whole[leads]),
        worst=worst,
        link=link,
        links=told,
        differing_phases=differing,
        modelled=model.of_phases(ops),
        findings=findings["instructions"],
        byte_findings=findings["rep_bytes"],
        what_if=words.what_if(findings[leads], whole[leads], base.spec, other.spec, "over all phases"),
        aside=_aside(base, other, ops) if aside else (),
        left_out=(base.emulated(ops), other.emulated(ops)),
        apart=words.apart(base, other, ops),
        phases=tuple(compared),
        not_compared=tuple(not_compared),
        differing_reports=differing_reports(guests[0].reports, guests[1].reports, alike),
        cells=cells,
    )
    return pair, ledgers


def _phases(base: _Side, other: _Side) -> tuple[dict[int, str], list[int], list[tuple[str, str]]]:
    """Names of all phases, the numbers of those that were ok everywhere, and why the others are not compared."""
    names = {**other.names, **base.names}
    for number, name in other.names.items():
        if names[number] != name:
            raise _other_phases(number, names[number], name)
    good = [number for number in base.good if number in other.good]
    reasons = {number: base.bad.get(number) or other.bad.get(number) or "not in every recording"
               for number in names if number not in good}  # fmt: skip
    return names, good, [(names[number], reasons[number]) for number in sorted(reasons)]


def _other_phases(number: int, one: str, other: str) -> NotComparable:
    return NotComparable(f"phase {number} is {one} in one recording and {other} in another",
                         hint="Compare recordings of one app at a time.")  # fmt: skip


def _why(status: str, spec: str, reason: str) -> str:
    """Say why a phase is not compared."""
    said = {"unsupported": "not supported by this guest", "failed": "failed"}
    return f"{said.get(status, status)}, {spec}" + (f": {reason}" if reason else "")


def _phase(number: int, name: str, question: str, op: str, base: GuestLedger, other: GuestLedger,
           cells: Mapping[Cost, Cells], model: Model, aside: bool, alike: bool) -> PhaseComparison:  # fmt: skip
    changes = {cost: Change(base.total(cost, number), other.total(cost, number)) for cost in COSTS}
    leads = _leads(changes["instructions"], changes["rep_bytes"], alike)
    material = _material(changes["instructions"], changes["rep_bytes"])
    once = {number: 1.0}
    findings = {cost: _findings(cells, cost, (number,), once, base, other, model, {number: name}, changes[cost])
                if material or cost == "instructions" else () for cost in COSTS}  # fmt: skip
    in_libc = base.in_libc(number), other.in_libc(number)
    headline = words.headline(leads, changes[leads]) + _within(changes[leads])
    if any(in_libc):
        headline = words.in_libc(in_libc, changes["instructions"], base, other, once)
    return PhaseComparison(
        number=number,
        name=name,
        question=question,
        op=op,
        ops=base.ops[number],
        instructions=changes["instructions"],
        string_bytes=changes["rep_bytes"],
        leads=leads,
        headline=headline,
        in_libc=in_libc,
        differs=not all(in_libc)
        and (changes["instructions"].verdict == "differs" or (changes["rep_bytes"].verdict == "differs" and material)),
        findings=findings["instructions"],
        byte_findings=findings["rep_bytes"],
        costly=costly(base, other, dict.fromkeys([*base.costly_of(number), *other.costly_of(number)]), once),
        modelled=model.of_phases(once),
        apart=words.apart(base, other, once),
        what_if="" if any(in_libc) else words.what_if(findings[leads], changes[leads], base.spec, other.spec, "per op"),
        left_out=(base.left_out.get(number, 0.0), other.left_out.get(number, 0.0)),
        aside=_aside(base, other, once) if aside else (),
    )


def _aside(base: GuestLedger, other: GuestLedger, ops: Mapping[int, float]) -> tuple[tuple[str, float, float], ...]:
    return tuple((layer, base.of_layer(layer, ops), other.of_layer(layer, ops)) for layer in ASIDE)


def _findings(cells: Mapping[Cost, Cells], cost: Cost, phases: Sequence[int], scale: Mapping[int, float],
              base: GuestLedger, other: GuestLedger, model: Model, names: Mapping[int, str], whole: Change
              ) -> tuple[Finding, ...]:  # fmt: skip
    """The findings of some phases, each phase times its scale, with their sentences, and what ``whole`` would be."""
    mine, companion = cells[cost], cells[COSTS[1 - COSTS.index(cost)]]
    numbers = mine.frame["phase"].to_numpy()
    rows = np.flatnonzero(np.isin(numbers, list(phases)))
    of_phase = np.zeros(int(max([*scale, numbers.max(initial=0)])) + 1)
    of_phase[list(scale)] = list(scale.values())
    weights = of_phase[numbers]
    per_op = len(phases) == 1 and scale.get(phases[0]) == 1.0
    least = 1 if per_op or cost == "rep_bytes" else LEAST
    found = rank(mine, rows, weights, lambda key: companion.delta_of(key) * scale[key[0]], whole.delta, least)
    told = []
    left = whole.other.mean
    for one in found:
        left -= one.change.delta
        if cost == "instructions":
            one = replace(one, costly=costly(base, other, one.cells, scale))
        one = replace(one, modelled=model.of(one.cells, scale))
        said = words.sentence(one, base.spec, other.spec, names, len(phases), per_op)
        note = words.note(one, base.spec, other.spec)
        told.append(replace(one, sentence=said, note=note, alone=whole.other.mean - one.change.delta, together=left))
    return tuple(told)


def _within(change: Change) -> str:
    return ", within the seed spread" if change.verdict == "within seed spread" else ""


def _material(instructions: Change, string_bytes: Change) -> bool:
    return abs(string_bytes.delta) >= MATERIAL * max(instructions.base.mean, instructions.other.mean)


def _leads(instructions: Change, string_bytes: Change, alike: bool) -> Cost:
    """The cost that changes relatively more, if it is one that matters and is not merely another seed.

    Kernels that are not ``alike`` move the same bytes by string instructions or by others: there instructions lead.
    """
    if not alike or string_bytes.verdict != "differs" or not _material(instructions, string_bytes):
        return "instructions"
    if instructions.verdict != "differs":
        return "rep_bytes"
    relative = [abs(change.delta) / max(change.base.mean, change.other.mean) for change in (instructions, string_bytes)]
    return "rep_bytes" if relative[0] < min(CLEAR, relative[1]) else "instructions"


def _notes(guests: Mapping[str, Sequence[Recording]], people: Sequence[Guest], measure: Scope, pairs: Sequence[Pair]
           ) -> tuple[str, ...]:  # fmt: skip
    first = next(iter(guests.values()))[0]  # all have as many vCPUs
    notes = [note for note in (statistical(first.manifest), measure.why) if note]
    # Seeds that change nothing are not too few.
    fewest = min((guest.runs for guest in people if guest.runs > 1 or len(guest.seeds) == 1), default=FEW_SEEDS)
    if fewest == 1:
        notes.append("few seeds: one run of a guest has no spread, so nothing says what another seed would move; "
                     f"{FEW_SEEDS} make a spread to rely on")  # fmt: skip
    elif fewest < FEW_SEEDS:
        notes.append(f"few seeds: the spread shown is over {fewest} different runs, which is a lower bound; "
                     f"{FEW_SEEDS} make it one to rely on")  # fmt: skip
    alike = [guest for guest in people if guest.runs == 1 and len(guest.seeds) > 1]
    if alike:
        told = "; ".join(f"identical over {len(guest.seeds)} seeds: {guest.spec}" for guest in alike)
        notes.append(f"{told} (what a seed changes made no difference, so that there is no spread)")
    # A seed may vary the size of memory; it matters if the guests did not run with the same sizes.
    memory = {spec: sorted({one.manifest["qemu"]["memory_mib"] for one in ones}) for spec, ones in guests.items()}
    if len({tuple(sizes) for sizes in memory.values()}) > 1:
        sizes = "; ".join(f"{spec} {listed(list(map(str, memory[spec])))}" for spec in memory)
        notes.append(f"memory differs between guests, in MiB: {sizes}")
    dear = {one.instruction for pair in pairs for phase in pair.phases for one in phase.costly}
    if "lock" in dear and first.manifest["qemu"]["vcpus"] == 1:
        notes.append("locked instructions are counted as executed: a kernel may leave the LOCK prefix out while it has "
                     "one CPU, as Linux does")  # fmt: skip
    lacking = sorted({f"{name} ({one.manifest['probe']['capabilities'][name]['reason']})" for ones in guests.values()
                      for one in ones for name in one.manifest["probe"]["capabilities"]
                      if not one.manifest["probe"]["capabilities"][name]["available"]})  # fmt: skip
    if lacking:
        notes.append(f"not seen by the probe here: {', '.join(lacking[:4])}")
    return tuple(notes)
