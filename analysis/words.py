"""Figures and findings as plain English.  Instructions are counted, so no word of speed or time appears here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from analysis.ledger import Cost
from analysis.rank import Finding
from analysis.statistics import Change

UNITS: dict[Cost, str] = {"instructions": "instructions", "rep_bytes": "string bytes"}


def number(value: float, *, sign: bool = False) -> str:
    """At most 8 characters up to 10^15: 0.42, 12.5, 1,234, 56.7 k, 8.90 M."""
    mark = "+" if sign and value > 0 else "-" if value < 0 else ""
    size = abs(value)
    if size < 0.005:
        return "0"
    steps = ((99_999.5, 1.0, ""), (999_500.0, 1e3, " k"), (999.5e6, 1e6, " M"), (999.5e9, 1e9, " G"))
    divisor, unit = next(((divisor, unit) for limit, divisor, unit in steps if size < limit), (1e12, " T"))
    scaled = size / divisor
    if unit == "" and scaled >= 999.5:
        return f"{mark}{scaled:,.0f}"
    digits = 0 if scaled >= 99.95 else 1 if scaled >= 9.995 else 2
    text = f"{scaled:.{digits}f}"
    if unit == "" and "." in text:
        text = text.rstrip("0").rstrip(".")
    return f"{mark}{text}{unit}"


def percent(share: float) -> str:
    """Of an absolute share: 0.3 %, 12 %, 340 %."""
    value = abs(share) * 100
    if value >= 100_000:
        return "more than 100,000 %"
    return f"{value:,.0f} %" if value >= 9.95 else f"{value:.1f} %" if value >= 0.05 else "less than 0.1 %"


def headline(cost: Cost, change: Change, per: str = "per op") -> str:
    """What a guest does more or less of than the base."""
    more = "more" if change.delta > 0 else "fewer"
    if abs(change.delta) <= 1e-9 * max(change.base.mean, change.other.mean):
        return f"executes as many instructions {per}" if cost == "instructions" else f"moves as many bytes {per}"
    if cost == "rep_bytes":
        amount = "" if change.relative is None else f" ({percent(change.relative)} {more})"
        return f"moves or sets {number(abs(change.delta))} {more} bytes {per} by string instructions{amount}"
    if change.relative is None:
        return f"executes {number(abs(change.delta))} {more} instructions {per}"
    return f"executes {percent(change.relative)} {more} instructions {per}"


def sentence(finding: Finding, base: str, other: str, names: Mapping[int, str], compared: int, per_op: bool) -> str:
    """One finding in one or two sentences; ``compared`` is the number of phases it was looked for in."""
    more = "more" if finding.change.delta > 0 else "fewer"
    size = number(abs(finding.change.delta))
    per = " per op" if per_op else ""
    what = (f"executes {size} {more} instructions{per}" if finding.cost == "instructions"
            else f"moves or sets {size} {more} bytes{per} by string instructions")  # fmt: skip
    text = f"{other} {what} in layer {finding.layer}, in {_functions(finding)}"
    text += "." if per_op else f", {_phases(finding, names, compared)}."
    return f"{text} {_why(finding, base, other)}".rstrip()


def _functions(finding: Finding) -> str:
    named = [function.name for function in finding.functions[:3]]
    rest = len(finding.functions) - len(named) + finding.more_functions
    if not named:
        return "no function by name"
    return listed(named) if not rest else f"{', '.join(named)} and {rest} more"


def _phases(finding: Finding, names: Mapping[int, str], compared: int) -> str:
    if len(finding.phases) == 1:
        return f"in phase {names.get(finding.phases[0], str(finding.phases[0]))}"
    if compared > 1 and len(finding.phases) == compared:
        return f"in every one of the {compared} phases that differ"
    shown = [names.get(phase, str(phase)) for phase in finding.phases[:3]]
    rest = len(finding.phases) - len(shown)
    return f"in {len(finding.phases)} phases: {', '.join(shown)}" + (f" and {rest} more" if rest else "")


def operations(finding: Finding, most: int = 3) -> str:
    """The operations of a finding, the largest part first."""
    named = list(finding.operations[:most])
    rest = len(finding.operations) - len(named)
    return f"{', '.join(named)} and {rest} more" if rest else listed(named)


def _why(finding: Finding, base: str, other: str) -> str:
    what = operations(finding)
    one = len(finding.operations) == 1
    parts = {"structural": finding.structural, "count": finding.count, "unit": finding.unit}
    main = max(parts, key=lambda name: abs(parts[name]))
    if main == "structural":
        lacking = base if finding.base_calls == 0 else other if finding.other_calls == 0 else ""
        return f"{lacking} has no {what} here." if lacking else f"Not both guests have {what} here."
    whole = abs(finding.change.delta)
    mostly = "" if whole and abs(parts[main]) >= 0.95 * whole else "mostly "
    if main == "unit":
        more = "more" if finding.unit > 0 else "less"
        if finding.operations in (("user",), ("background",)):
            return ""
        return f"Mostly, each {what} costs {more}." if mostly else f"Each {what} costs {more}; there are as many."
    direction = "more" if finding.count > 0 else "less"
    return (f"This is {mostly}because {what} {'is' if one else 'are'} asked for {direction} often "
            f"({number(finding.base_calls)} -> {number(finding.other_calls)} times).")  # fmt: skip


def listed(names: Sequence[str]) -> str:
    """a; a and b; a, b and c."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""
