"""Whether the findings of a comparison name what was planted: nothing here looks at more than a user is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from analysis.comparison import Pair, PhaseComparison
from analysis.ledger import Cost
from analysis.rank import Finding
from analysis.statistics import SAME, Change
from tests.truth.causes import Cause, Hit

COVERS: Final = 0.8
"""The first finding alone must be this share of its phase's difference; what is left must be no more than the rest."""


@dataclass(frozen=True)
class Told:
    """What is said of one phase of one cause: ``miss`` is the reason why it is wrong, "" if it is right.

    ``not_judged`` says why nothing could be said at all; then it is neither.
    """

    cause: str
    phase: str
    hit: Hit | None  # None: the phase must be quiet
    first: Finding | None
    beside: tuple[Finding, ...]  # the other findings beyond the floor
    miss: str
    not_judged: str = ""


def judge(cause: Cause, pair: Pair) -> list[Told]:
    """Hold every phase that the cause names against the comparison of its two guests."""
    phases = {phase.name: phase for phase in pair.phases}
    reasons = dict(pair.not_compared)
    told = []
    for name, hit in _wanted(cause):
        if name not in phases:
            told.append(Told(cause.name, name, hit, None, (), f"not compared: {reasons.get(name, 'not recorded')}"))
        else:
            told.append(_loud(cause, phases[name], hit) if hit else _quiet(cause, phases[name]))
    return told


def not_judged(cause: Cause, why: str) -> list[Told]:
    """Give every phase of a cause whose kernel is not on this machine."""
    return [Told(cause.name, name, hit, None, (), "", why) for name, hit in _wanted(cause)]


def missed(cause: Cause, reason: str) -> list[Told]:
    """Give every phase of a cause that could not be compared at all."""
    return [Told(cause.name, name, hit, None, (), reason) for name, hit in _wanted(cause)]


def _wanted(cause: Cause) -> list[tuple[str, Hit | None]]:
    return [*((hit.phase, hit) for hit in cause.hit), *((name, None) for name in cause.quiet)]


def beyond_the_floor(finding: Finding, phase: PhaseComparison) -> bool:
    """Tell whether a finding is more than what seeds move, and more than what is called the same of a whole phase."""
    whole = _whole(phase, finding.cost)
    return finding.change.verdict == "differs" and abs(finding.change.delta) > SAME * max(
        whole.base.mean, whole.other.mean
    )


def _loud(cause: Cause, phase: PhaseComparison, hit: Hit) -> Told:
    beyond = [finding for finding in phase.in_order if beyond_the_floor(finding, phase)]
    first = phase.in_order[0] if phase.in_order else None
    beside = tuple(finding for finding in beyond if finding is not first)
    return Told(cause.name, phase.name, hit, first, beside, _wrong(phase, hit, first, first in beyond))


def _wrong(phase: PhaseComparison, hit: Hit, first: Finding | None, beyond: bool) -> str:
    if first is None or not phase.differs:
        return "no difference beyond the seed spread"
    if not _is(hit, first):
        places = [place for place, one in enumerate(phase.in_order, 1) if _is(hit, one)]
        return "another finding is first; " + (f"this is number {places[0]}" if places else "this is none at all")
    if not beyond:
        return "first, and within the floor"
    if abs(1 - first.share) > 1 - COVERS + 1e-9:
        return f"first, and {100 * first.share:.0f} % of the difference"
    return ""


def _is(hit: Hit, finding: Finding) -> bool:
    return finding.operations[0] in hit.operations and (finding.layer, finding.cost) == (hit.layer, hit.cost)


def _quiet(cause: Cause, phase: PhaseComparison) -> Told:
    beyond = tuple(finding for finding in phase.in_order if beyond_the_floor(finding, phase))
    first = beyond[0] if beyond else None
    return Told(
        cause.name,
        phase.name,
        None,
        first,
        beyond[1:],
        f"a finding where nothing was planted, {_size(beyond[0], phase)}" if beyond else "",
    )


def _size(finding: Finding, phase: PhaseComparison) -> str:
    whole = _whole(phase, finding.cost)
    return f"{100 * abs(finding.change.delta) / max(whole.base.mean, whole.other.mean):.1f} % of the phase"


def _whole(phase: PhaseComparison, cost: Cost) -> Change:
    return phase.instructions if cost == "instructions" else phase.string_bytes


def table(told: Sequence[Told], guests: Mapping[str, tuple[str, str]]) -> str:
    """Give a line per phase in which a cause must show, then what is wrong, then what stands beside what is right.

    ``guests`` are the two of each cause.
    """
    rows: list[tuple[str, ...]] = [("planted", "phase", "expected first", "first", "per op", "share", "quiet", "")]
    for name in dict.fromkeys(one.cause for one in told):
        mine = [one for one in told if one.cause == name]
        silent = [one for one in mine if one.hit is None]
        quiet = f"{sum(not (one.miss or one.not_judged) for one in silent)} of {len(silent)}"
        for number, one in enumerate(each for each in mine if each.hit):
            wrong = one.miss or (number == 0 and any(each.miss for each in silent))
            said = f"not judged: {one.not_judged}" if one.not_judged else "MISS" if wrong else "right"
            rows.append((name if number == 0 else "", one.phase, _expected(one), *_found(one),
                         quiet if number == 0 else "", said))  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [_counted(told), ""]
    lines += ["  ".join(cell.rjust(width) if column in (4, 5) else cell.ljust(width)
                       for column, (cell, width) in enumerate(zip(row, widths, strict=True))).rstrip()
             for row in rows]  # fmt: skip
    for (name, miss, first), ones in _alike(told).items():
        base, other = guests[name]
        lines += ["", f"MISS: {name} in {', '.join(one.phase for one in ones)}: {miss} ({base} against {other})"]
        lines += [f"  {finding.sentence}" for one in ones if first for finding in (one.first, *one.beside) if finding]
    beside = [one for one in told if one.beside and not one.miss]
    if beside:
        lines += ["", "Beside the first finding, and beyond the floor:"]
        lines += [f"  {one.cause}, {one.phase}: {finding.sentence}" for one in beside for finding in one.beside]
    return "\n".join(lines)


def _counted(told: Sequence[Told]) -> str:
    """Say how many causes are right, how many are not, and how many nobody judged."""
    every = list(dict.fromkeys(one.cause for one in told))
    wrong, left_out = {one.cause for one in told if one.miss}, {one.cause for one in told if one.not_judged}
    said = f"{len(every)} causes: {len({*every} - wrong - left_out)} right, {len(wrong)} missed"
    return f"{said}, {len(left_out)} not judged" if left_out else said


def _alike(told: Sequence[Told]) -> dict[tuple[str, str, bool], list[Told]]:
    """Give what is wrong by cause and reason, together where no finding is to be shown for a phase."""
    groups: dict[tuple[str, str, bool], list[Told]] = {}
    for one in told:
        if one.miss:
            groups.setdefault((one.cause, one.miss, one.first is not None), []).append(one)
    return groups


def _expected(one: Told) -> str:
    return f"{'/'.join(one.hit.operations)}, {one.hit.layer}" if one.hit else ""


def _found(one: Told) -> tuple[str, str, str]:
    if one.first is None:
        return "" if one.not_judged else "none", "", ""
    more = len(one.first.operations) - 1
    operations = one.first.operations[0] + (f" +{more}" if more else "")
    unit = " B" if one.first.cost == "rep_bytes" else ""
    return (f"{operations}, {one.first.layer}", f"{one.first.change.delta:+,.1f}{unit}",
            f"{100 * one.first.share:.0f} %")  # fmt: skip
