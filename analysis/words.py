"""Figures and findings as plain English.  Instructions are counted, so no word of speed or time appears here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from analysis.certainty import MARKS
from analysis.costly import Costly
from analysis.ledger import Cost, GuestLedger
from analysis.link import Link
from analysis.rank import MINOR, NOTHING, Finding
from analysis.seeds import wide
from analysis.statistics import Change
from analysis.text import listed, number, percent, ratio, some

if TYPE_CHECKING:
    from analysis.comparison import PhaseComparison

SMALL: Final = 0.001
"""What is left out is worth a sentence from this share of what is compared."""
MANY: Final = 1.0
"""From this much more on, a ratio says it better than a percentage."""
UNITS: dict[Cost, str] = {"instructions": "instructions", "rep_bytes": "string bytes"}


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
    return f"executes {_times(change.relative)} instructions {per}"


def _times(relative: float) -> str:
    """A relative difference: 12 % more, 37.6 times as many."""
    if relative > MANY:
        return f"{number(relative + 1)} times as many"
    return f"{percent(relative)} {'more' if relative > 0 else 'fewer'}"


def in_libc(which: tuple[bool, bool], change: Change, base: GuestLedger, other: GuestLedger,
            once: Mapping[int, float]) -> str:  # fmt: skip
    """The headline of a phase that is mostly libc's on one guest or both, where libc is not compared."""
    told = []
    for ledger in (other, base):
        kernel = sum(ledger.set_apart(phase) for phase in once)
        own = f"{number(ledger.of_layer('libc', once))} instructions of libc"
        told.append(f"{own} and {number(kernel)} outside it" if kernel >= NOTHING else own)
    mine, theirs = told
    if all(which):
        return f"is libc's: {mine} per op, and {theirs} on {base.spec}, not compared"
    if which[0]:
        return (f"executes {number(change.other.mean)} instructions per op outside libc, where it is libc's on "
                f"{base.spec} ({theirs}, not compared)")  # fmt: skip
    return (f"is libc's ({mine} per op, not compared), where {base.spec} executes {number(change.base.mean)} outside "
            "libc")  # fmt: skip


def apart(base: GuestLedger, other: GuestLedger, ops: Mapping[int, float]) -> str:
    """What is left out because libc answers it on one side, and what answers on the other cannot be told from libc."""
    names: dict[str, float] = {}
    sums = [0.0, 0.0]
    for side, ledger in enumerate((base, other)):
        for (phase, operation), value in ledger.apart.items():
            sums[side] += value * ops.get(phase, 0.0)
            names[operation] = names.get(operation, 0.0) + value * ops.get(phase, 0.0)
    if abs(sums[1] - sums[0]) < SMALL * max(ledger.whole("instructions", ops).mean for ledger in (base, other)):
        return ""
    ordered = sorted((name for name in names if names[name] >= NOTHING), key=lambda name: -names[name])
    alone = base if other.libc_in_kernel or sums[1] > sums[0] else other
    it = "it" if len(ordered) == 1 and ordered[0] != "user" else "them"
    what = some([_OF_LIBC if name == "user" else spoken(name) for name in ordered], 4)
    return (f"Left out: {what}, as libc answers {it} on {alone.spec}, "
            f"alone or mostly ({number(sums[0])} instructions outside libc on {base.spec}, {number(sums[1])} on "
            f"{other.spec}).")  # fmt: skip


def sentence(finding: Finding, base: str, other: str, names: Mapping[int, str], compared: int, per_op: bool) -> str:
    """One finding in one or two sentences; ``compared`` is the number of phases it was looked for in."""
    more = "more" if finding.change.delta > 0 else "fewer"
    size = number(abs(finding.change.delta))
    per = " per op" if per_op else ""
    what = (f"executes {size} {more} instructions{per}" if finding.cost == "instructions"
            else f"moves or sets {size} {more} bytes{per} by string instructions")  # fmt: skip
    asked = spoken(finding.operations[0]) if finding.first[1] >= NEARLY else operations(finding)
    text = f"{other} {what} for {asked} in {_in_layers(finding)}"
    text += "" if per_op else f", {_phases(finding, names, compared)}"
    instead = some([function.name for function in finding.instead], 3)
    less = base if finding.change.delta > 0 else other
    text += f": {_functions(finding)}" + (f" ({less}: {instead})." if instead else ".")
    return " ".join(filter(None, (text, _why(finding, base, other), _one_cause(finding), _later(finding),
                                  traded(finding, other), _costly(finding, other, per))))  # fmt: skip


def note(finding: Finding, base: str, other: str) -> str:
    """What the figures of a finding do not say, in short."""
    return " ".join(filter(None, (_of_layers(finding), elsewhere(finding, base, other), traded(finding, other),
                                  costly(_dear(finding)))))  # fmt: skip


def _layers(finding: Finding) -> list[tuple[str, float]]:
    """The layers that matter to a finding."""
    least = MINOR * abs(finding.change.delta)
    return [(name, delta) for name, delta in finding.layers if abs(delta) >= least] or [finding.layers[0]]


def layer(finding: Finding) -> str:
    """The leading layer, and how many more there are."""
    more = len(_layers(finding)) - 1
    return f"{finding.layer} +{more}" if more else finding.layer


def _in_layers(finding: Finding) -> str:
    told = [f"{name} ({number(delta, sign=True)})" for name, delta in _layers(finding)]
    return f"layer {finding.layer}" if len(told) == 1 else f"layers {some(told, LAYERS)}"


def _of_layers(finding: Finding) -> str:
    told = [f"{name} {number(delta, sign=True)}" for name, delta in _layers(finding)]
    return "" if len(told) == 1 else f"By layer: {some(told, LAYERS)}."


LAYERS: Final = 5
"""Layers named of a finding, of those that matter."""


def _one_cause(finding: Finding) -> str:
    """Why layers or operations are taken together, where nothing else says so."""
    told = []
    several = len(_layers(finding)) > 1
    if "calls" in finding.evidence and several:
        told.append("One cause: in every operation, functions of these layers are entered together.")
    if "sites" in finding.evidence:
        told.append("Where they are called, an instruction made room for the call.")
    if "callers" in finding.evidence and several:
        told.append("Whoever calls them does, too, by as many for each call.")
    if "follows" in finding.evidence:
        told.append("One cause: with each of them, what nobody asks for is done once more.")
    if "family" in finding.evidence:
        told.append("One cause: functions of one subsystem, by their names, entered equally often.")
    return " ".join(told)


def _functions(finding: Finding) -> str:
    rest = len(finding.functions) + finding.more_functions
    named = [function.name for function in finding.functions if function not in finding.instead][:3]
    rest -= len(named) + len(finding.instead)
    if not named:
        return "no function by name"
    return listed(named) if rest <= 0 else f"{', '.join(named)} and {rest} more"


def _phases(finding: Finding, names: Mapping[int, str], compared: int) -> str:
    if len(finding.phases) == 1 or finding.first[0] >= NEARLY:
        nearly = "nearly all " if len(finding.phases) > 1 else ""
        return f"{nearly}in phase {names.get(finding.phases[0], str(finding.phases[0]))}"
    if compared > 1 and len(finding.phases) == compared:
        return f"in every one of the {compared} phases that differ"
    shown = [names.get(phase, str(phase)) for phase in finding.phases]
    return f"in {len(shown)} phases ({some(shown, 3)})"


NEARLY: Final = 0.95
"""Where one phase or operation makes this share of a finding, the others are not named."""
_OF_LIBC: Final = "libc functions that are no operation"
_SPOKEN: Final = {"user": "the app's own code", "background": "nothing in particular (background)",
                  "page-fault": "page faults", "interrupt": "interrupts"}  # fmt: skip


def operations(finding: Finding, most: int = 3) -> str:
    """The operations of a finding, the largest part first."""
    return some([spoken(name) for name in finding.operations], most)


def spoken(operation: str) -> str:
    """An operation as it is called in a sentence."""
    return _SPOKEN.get(operation, operation)


def _why(finding: Finding, base: str, other: str) -> str:
    """How often, how much each time, or where else."""
    one = finding.first[1] >= NEARLY or len(finding.operations) == 1
    what = spoken(finding.operations[0]) if one else "them"
    said = elsewhere(finding, base, other)
    if said or (one and finding.operations[0] in ("user", "background")):
        return said
    parts = {"structural": finding.structural, "count": finding.count, "unit": finding.unit}
    main = max(parts, key=lambda name: abs(parts[name]))
    if main == "structural":
        if min(finding.base_calls, finding.other_calls) > 0:
            return "Most of it is on one side only."
        if max(finding.base_calls, finding.other_calls) <= 0:
            return ""  # what is never entered here, as what was called before the phase
        lacking = base if finding.base_calls <= 0 else other
        return f"{lacking} has no {what} here."
    whole = abs(finding.change.delta)
    mostly = "" if whole and abs(parts[main]) >= 0.95 * whole else "mostly "
    if main == "unit":
        more = "more" if finding.unit > 0 else "less"
        return f"Mostly, each costs {more}." if mostly else f"Each costs {more}; there are as many."
    direction = "more" if finding.count > 0 else "less"
    return (f"This is {mostly}because there are {direction} of them "
            f"({number(finding.base_calls)} -> {number(finding.other_calls)}).")  # fmt: skip


def elsewhere(finding: Finding, base: str, other: str) -> str:
    """What is answered in other places on the two guests, or on one of them only."""
    if finding.places[0] == finding.places[1] or finding.operations[0] in _SPOKEN:
        return ""
    what = spoken(finding.operations[0]) if len(finding.operations) == 1 or finding.first[1] >= NEARLY else "them"
    told = {"nowhere": "{guest} has no {what} here.", "libc": "On {guest}, libc alone answers {what}.",
            "user": "{guest} answers {what} in user space (vDSO), without its kernel.", "kernel": ""}  # fmt: skip
    said = (told[place].format(guest=guest, what=what)
            for place, guest in zip(finding.places, (base, other), strict=True))  # fmt: skip
    return " ".join(filter(None, said))


def traded(finding: Finding, other: str) -> str:
    """What the guest does by string instructions in exchange: a loop of moves counts each, a REP instruction once."""
    delta, exchanged = finding.change.delta, finding.other_cost
    if finding.cost != "instructions" or delta * exchanged >= 0 or abs(exchanged) < abs(delta):
        return ""
    return (f"In exchange, {other} moves or sets {number(abs(exchanged))} {'fewer' if exchanged < 0 else 'more'} bytes "
            "by string instructions there.")  # fmt: skip


def costly(differing: Sequence[Costly]) -> str:
    """How many more or fewer costly instructions there are, by their classes; "" for none."""
    told = [f"{one.instruction} {number(one.change.delta, sign=True)}" for one in differing
            if abs(one.change.delta) >= NOTHING]  # fmt: skip
    return f"Costly instructions: {', '.join(told)}." if told else ""


def _costly(finding: Finding, other: str, per: str) -> str:
    """The costly instructions of a finding in a sentence."""
    told = []
    for one in _dear(finding):
        size = number(abs(one.change.delta))
        few, many = COSTLY.get(one.instruction) or (one.instruction.upper(), f"{one.instruction.upper()}s")
        told.append(f"{size} {'more' if one.change.delta > 0 else 'fewer'} {few if size == '1' else many}")
    if not told:
        return ""
    return (f"There, {other} executes {listed(told)}{per}, which are dear on hardware and count as one instruction "
            "each here.")  # fmt: skip


def _dear(finding: Finding) -> list[Costly]:
    """The costly instructions of a finding that matter beside its size."""
    least = max(NOTHING, DEAR * abs(finding.change.delta))
    return [one for one in finding.costly if abs(one.change.delta) >= least]


DEAR: Final = 0.001
"""Costly instructions are worth words from this many per instruction of a difference; all are in ``costly``."""
COSTLY: Final = {
    "swapgs": ("SWAPGS", "SWAPGS"), "cr3": ("CR3 write", "CR3 writes"), "wrmsr": ("MSR write", "MSR writes"),
    "rdmsr": ("MSR read", "MSR reads"), "io": ("port access", "port accesses"),
    "mmio": ("access to device memory", "accesses to device memory"),
    "lock": ("locked instruction", "locked instructions"),
    "xsave": ("save or restore of FPU state", "saves or restores of FPU state"),
}  # fmt: skip
"""Classes of costly instructions in a sentence, one and many; others are the instructions of that name."""


def _later(finding: Finding) -> str:
    """Work that is done on behalf of the operation, by another thread and later."""
    later, whole = finding.deferred, finding.change.delta
    if abs(later) < 0.5 * abs(whole) or later * whole <= 0:
        return ""
    size = number(abs(later))
    many = f"{size} of them" if abs(later) <= abs(whole) else f"All of them and more ({size})"
    return f"{many} are work done later, by a thread that it wakes."


def part(finding: Finding, whole: Change, base: str) -> str:
    """How much of the difference a finding is; of the base where causes of both signs leave little of a difference."""
    what = UNITS[finding.cost]
    said = (MARKS[finding.certainty], wide(finding.change))
    mark = "".join(f"; {text}" for text in said if text)
    if not whole.base.mean:
        return f"{finding.share:.0%} of the difference in {what}".replace("%", " %") + mark
    if abs(finding.share) <= CANCELLED:
        against = "against the trend, " if finding.share < 0 else ""
        text = f"{against}{abs(finding.share):.0%} of the difference in {what}".replace("%", " %")
    else:
        text = f"{percent(finding.change.delta / whole.base.mean)} of all {what} of {base}"
    now, then = ratio(whole.ratio), ratio(finding.alone / whole.base.mean)
    return f"{text}{mark}" + ("" if now == then else f"; {now} -> {then} with this as in {base}")


CANCELLED: Final = 1.5
"""A share of a difference above this says that others go the other way, and nothing of size."""


def links(worst: PhaseComparison | None, link: Link | None, names: Mapping[int, str], whole: Change, base: str,
          other: str) -> str:  # fmt: skip
    """The worst ratio and the costliest link; what the guest would execute without that."""
    said = []
    if worst is not None:
        said.append(f"Worst ratio: {worst.name}, {ratio(worst.instructions.ratio)}.")
    if link is not None:
        said.append(f"Costliest link: {spoken(link.operation)} in {names[link.phase]}, "
                    f"{number(link.delta)} more instructions ({number(link.base)} -> {number(link.other)}). "
                    f"With this alone as in {base}, {other} {_would(whole, whole.other.mean - link.delta, base)} "
                    "over all phases.")  # fmt: skip
    return " ".join(said)


def what_if(findings: Sequence[Finding], whole: Change, base: str, other: str, per: str) -> str:
    """What the guest would cost with the first findings as in the base; ``findings`` are of one cost."""
    if len(findings) < 2 or not whole.base.mean:
        return ""
    told = [(f"the first {_COUNTED[count - 1]}" if count > 1 else "the first finding", findings[count - 1].together)
            for count in (1, 2, 3) if count <= len(findings)]  # fmt: skip
    if len(findings) > 3:
        told.append((f"all {len(findings)}", findings[-1].together))
    cost = findings[0].cost
    first = f"With the first as in {base}, {other} {_would(whole, told[0][1], base, cost)} {per}"
    rest = [f"with {which}, {_difference(whole, value)}" for which, value in told[1:]]
    return f"{first}; {'; '.join(rest)}."


_COUNTED: Final = ("one", "two", "three")


def _would(whole: Change, value: float, base: str, cost: Cost = "instructions") -> str:
    """What the other guest would do if it cost ``value``, against the base."""
    verb, what = ("execute", "instructions") if cost == "instructions" else ("move or set", "bytes")
    said = _difference(whole, value)
    return f"would {verb} {said} {what} {'as' if said.endswith('as many') else 'than'} {base}"


def _difference(whole: Change, value: float) -> str:
    relative = (value - whole.base.mean) / whole.base.mean if whole.base.mean else 0.0
    return "as many" if abs(relative) < 0.0005 else _times(relative)
