"""What a comparison of guests holds.  Views show it and compute nothing but layout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from analysis.align import Cells
from analysis.costly import Costly
from analysis.cycles import Modelled
from analysis.ledger import Cost
from analysis.link import Link
from analysis.overview import Overview
from analysis.prices import PriceList
from analysis.rank import Finding
from analysis.statistics import Change, few


@dataclass(frozen=True)
class Guest:
    """A guest of the comparison."""

    spec: str
    kernel: str
    seeds: tuple[int, ...]
    runs: int  # different ledgers among the seeds
    reports: dict[str, str]
    machine: str
    provenance: str
    runtime: str
    fair: str  # what a comparison with it is fair for, as its recording says; "" if that does not

    @property
    def few(self) -> bool:
        """Whether its seeds are too few for an interval and a finding."""
        return few(self.runs, len(self.seeds))


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
    in_libc: tuple[bool, bool]  # whether next to nothing but libc is in it: then a ratio says nothing
    apart: str  # as in Pair
    differs: bool  # beyond the seed spread, in either cost
    findings: tuple[Finding, ...]
    byte_findings: tuple[Finding, ...]
    costly: tuple[Costly, ...]  # costly instructions of all that is compared, where they differ
    modelled: tuple[Modelled, ...]  # cycles of all that is compared, on each machine; none if not all was counted
    what_if: str  # what the other would execute with its first findings as in the base; a sentence or ""
    left_out: tuple[float, float]  # share of the emulator's layers in the instructions of each guest
    aside: tuple[tuple[str, float, float], ...]  # layer that is not compared, instructions per op of each guest

    @property
    def in_order(self) -> tuple[Finding, ...]:
        """Both lists of findings, those of the cost that changes relatively more first."""
        return _in_order(self.leads, self.findings, self.byte_findings)

    @property
    def leading(self) -> Change:
        """The change of the cost that changes relatively more."""
        return self.instructions if self.leads == "instructions" else self.string_bytes

    @property
    def rest(self) -> dict[Cost, float]:
        """What of the difference no finding explains: with the findings, it makes the difference."""
        return _rest(self)


@dataclass(frozen=True)
class Pair:
    """One guest against the base.  Totals are over all ops of the phases compared, not per op."""

    base: Guest
    other: Guest
    instructions: Change
    string_bytes: Change
    leads: Cost
    headline: str
    worst: PhaseComparison | None  # of the phases that differ, the one with the highest ratio of instructions, above 1
    link: Link | None
    links: str  # both of them in words, with what the other would execute without the link; "" if there are none
    differing_phases: tuple[int, ...]
    modelled: tuple[Modelled, ...]  # as in PhaseComparison, over all ops of the phases compared
    findings: tuple[Finding, ...]  # over the phases that differ, instructions
    byte_findings: tuple[Finding, ...]
    what_if: str
    aside: tuple[tuple[str, float, float], ...]
    left_out: tuple[float, float]  # as in PhaseComparison, over all phases compared
    apart: str  # operations that libc answers alone where it is not the kernel, and what they cost, in words
    phases: tuple[PhaseComparison, ...]
    not_compared: tuple[tuple[str, str], ...]  # phase, why
    differing_reports: tuple[tuple[str, str, str], ...]  # key, base, other
    cells: Mapping[Cost, Cells] = field(repr=False, compare=False)

    @property
    def in_order(self) -> tuple[Finding, ...]:
        """Both lists of findings, those of the cost that changes relatively more first."""
        return _in_order(self.leads, self.findings, self.byte_findings)

    @property
    def rest(self) -> dict[Cost, float]:
        """What of the difference no finding explains: with the findings, it makes the difference."""
        return _rest(self)

    @property
    def changes(self) -> dict[Cost, Change]:
        """Both costs."""
        return {"instructions": self.instructions, "rep_bytes": self.string_bytes}

    @property
    def one_run(self) -> bool:
        """Whether a side has one seed only, so that nothing is said of seeds."""
        return min(len(self.base.seeds), len(self.other.seeds)) < 2


@dataclass(frozen=True)
class Comparison:
    """All guests against one."""

    app: str
    cpu: str
    qemu: str
    mode: str
    guests: tuple[Guest, ...]  # the base first
    overview: Overview  # guests in the same order
    pairs: tuple[Pair, ...]
    few_seeds: bool
    notes: tuple[str, ...]
    prices: tuple[PriceList, ...]  # of the machines on which cycles are modelled

    @property
    def base(self) -> Guest:
        """The guest that the others are held against."""
        return self.guests[0]

    @property
    def machines(self) -> dict[str, list[str]]:
        """The guests by the machine that they ran on."""
        found: dict[str, list[str]] = {}
        for guest in self.guests:
            found.setdefault(guest.machine, []).append(guest.spec)
        return found


def _in_order(leads: Cost, *lists: tuple[Finding, ...]) -> tuple[Finding, ...]:
    ordered = lists if leads == "instructions" else lists[::-1]
    return tuple(finding for findings in ordered for finding in findings)


def _rest(of: PhaseComparison | Pair) -> dict[Cost, float]:
    return {
        "instructions": of.instructions.delta - sum(one.change.delta for one in of.findings),
        "rep_bytes": of.string_bytes.delta - sum(one.change.delta for one in of.byte_findings),
    }
