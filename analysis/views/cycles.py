"""Modelled cycles: on a terminal a table of machines, or of findings where there is one machine; elsewhere in parts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from analysis.comparison import Pair
from analysis.cycles import Decider, Modelled, Range, Sign
from analysis.prices import CLASSES, INSTRUCTION, STRING_BYTES, PriceList
from analysis.rank import Finding
from analysis.text import listed, number
from analysis.views.escape import clean

MARKS: Final[Mapping[Sign, str]] = {"more": "+", "fewer": "-", "same": "=", "depends on prices": "?"}
NOTHING_TIMED: Final = "counts times prices that others published (docs/prices.md), as a range; nothing was timed."

Fit = tuple[int, int, int, int]
"""Widths of a label, of two ranges and of their difference."""
_MACHINES: Final[Fit] = (12, 16, 16, 17)
_FINDINGS: Final[Fit] = (18, 16, 16, 17)


def tables(pair: Pair, findings: Sequence[Finding], lists: Sequence[PriceList]) -> Iterator[tuple[str, bool]]:
    """Lines of a pair: text, and whether it is a row, which is not to be wrapped.

    Of several machines there is a row for each, and a mark for each finding; of one there is a row for each finding.
    """
    if not lists:
        return
    if not pair.modelled:
        yield NONE, False
    elif len(lists) == 1:
        yield from _one(pair, findings, lists[0])
    else:
        yield from _several(pair, findings)


NONE: Final = "Modelled cycles: none; not every recording has counts of costly instructions."
HEAD: Final = ("machine", "base", "other", "difference", "so that the other costs")
"""Of ``rows``."""


def rows(every: Sequence[Modelled]) -> list[tuple[str, str, str, str, str]]:
    """A row for each machine: its name, three ranges, and the sign, with what it depends on."""
    return [(one.machine, span(one.base), span(one.other), span(one.delta, sign=True),
             decided(one.decider) if one.decider else one.sign) for one in every]  # fmt: skip


def notes(every: Sequence[Modelled]) -> list[str]:
    """Sentences below ``rows``."""
    return [text for text, _ in _unlimited(every)]


def each(every: Sequence[Modelled]) -> str:
    """The difference in a line, and whether its sign depends on prices; "" if nothing was counted.

    Machines that agree in that are named together, with the range that holds all of theirs.
    """
    alike: dict[str, list[Modelled]] = {}
    for one in every:
        most = f" (most on that of {_named(one.decider.name)})" if one.decider else ""
        alike.setdefault(one.sign + most, []).append(one)
    told = []
    for sign, ones in alike.items():
        on = f"all {len(ones)} machines" if 1 < len(ones) == len(every) else listed([one.machine for one in ones])
        ends = Range(min(one.delta.low for one in ones), max(one.delta.high for one in ones))
        told.append(f"on {on} {span(ends, sign=True)}, {sign}")
    return f"Modelled cycles: {'; '.join(told)}." if told else ""


def span(one: Range, *, sign: bool = False) -> str:
    """At most 17 characters: 20.7 M..538 M, 20.7 M or more, any."""
    low, high = (number(end, sign=sign) if not math.isinf(end) else "" for end in (one.low, one.high))
    if low and high:
        return low if low == high else f"{low}..{high}"
    return f"{low} or more" if low else f"{high} or less" if high else "any"


def decided(decider: Decider) -> str:
    """What a sign depends on, and from which price on it is certain."""
    rising, falling = ("more", "fewer") if decider.delta > 0 else ("fewer", "more")
    if decider.name == STRING_BYTES:
        ends = [f"{rising} below {number(1 / decider.above)} bytes per cycle" if decider.above else "",
                f"{falling} above {number(1 / decider.below)} bytes per cycle" if decider.below else ""]  # fmt: skip
    else:
        ends = [f"{rising} above {number(decider.above)} cycles" if decider.above is not None else "",
                f"{falling} below {number(decider.below)} cycles" if decider.below is not None else ""]  # fmt: skip
    said = listed([end for end in ends if end]) or "and on others, whatever that is"
    return f"depends on prices, most on that of {_named(decider.name)}: {said}"


def _named(name: str) -> str:
    return {INSTRUCTION: "ordinary instructions", STRING_BYTES: "string bytes"}.get(name, name)


def _several(pair: Pair, findings: Sequence[Finding]) -> Iterator[tuple[str, bool]]:
    yield f"Modelled cycles over all phases: {NOTHING_TIMED}", False
    ranks = " ".join(str(rank) for rank in range(1, len(findings) + 1))
    yield _row(_MACHINES, "", clean(pair.base.spec), clean(pair.other.spec), "difference") + f"  {ranks}", True
    for at, one in enumerate(pair.modelled):
        marks = " ".join(MARKS[finding.modelled[at].sign] for finding in findings)
        yield _cycles(_MACHINES, clean(one.machine), one) + f"  {marks}", True
    if findings:
        yield "Findings: + more, - fewer, = the same, ? depends on prices.", False
    told = [("all phases", pair.modelled)]
    told += [(str(rank), finding.modelled) for rank, finding in enumerate(findings, start=1)]
    most = [f"{what} on {_deciders(every)}" for what, every in told if any(one.decider for one in every)]
    if most:
        yield f"What depends on prices depends most on: {'; '.join(most)}.", False
    yield from _unlimited(pair.modelled)


def _one(pair: Pair, findings: Sequence[Finding], prices: PriceList) -> Iterator[tuple[str, bool]]:
    yield f"Modelled cycles on {clean(prices.name)}, {clean(prices.machine)}: {NOTHING_TIMED}", False
    yield _row(_FINDINGS, "", clean(pair.base.spec), clean(pair.other.spec), "difference"), True
    rows = [("all phases", pair.modelled[0])]
    rows += [(f"{rank}. {clean(finding.layer)}, {clean(finding.operations[0])}", finding.modelled[0])
             for rank, finding in enumerate(findings, start=1)]  # fmt: skip
    for label, one in rows:
        yield f"{_cycles(_FINDINGS, label, one)}  {'' if one.decider else one.sign}", True
        if one.decider:
            yield f"  which {decided(one.decider)}", False
    yield from _unlimited(pair.modelled)


def _deciders(every: Sequence[Modelled]) -> str:
    """The classes that decide, and on which machines, if it is not one on all of them."""
    found: dict[str, list[str]] = {}
    for one in every:
        if one.decider:
            found.setdefault(_named(one.decider.name), []).append(clean(one.machine))
    return listed([name if len(on) == len(every) else f"{name} ({', '.join(on)})" for name, on in found.items()])


def _unlimited(every: Sequence[Modelled]) -> Iterator[tuple[str, bool]]:
    found: dict[str, list[Modelled]] = {}
    for one in every:
        for name in one.unlimited:
            found.setdefault(name, []).append(one)
    if found:
        told = []
        for name in sorted(found, key=CLASSES.index):
            ones = found[name]
            base, other = map(number, ones[0].unlimited[name])
            on = f" ({', '.join(clean(one.machine) for one in ones)})" if len(ones) < len(every) else ""
            told.append(f"{name} {base} -> {other}{on}")
        yield f"No upper price is known of: {'; '.join(told)}.", False


def _cycles(fit: Fit, label: str, one: Modelled) -> str:
    return _row(fit, label, span(one.base), span(one.other), span(one.delta, sign=True))


def _row(fit: Fit, *texts: str) -> str:
    from analysis.views.terminal import fit as fitted

    first, *others = zip(texts, fit, strict=True)
    return " ".join([fitted(*first), *(" " * (width - len(text)) + text if len(text) <= width else fitted(text, width)
                                       for text, width in others)])  # fmt: skip
