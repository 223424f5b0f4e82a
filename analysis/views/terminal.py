"""``weaklink explain`` on a terminal: never wider than 80 columns, and complete without colour."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from analysis import seeds, words
from analysis.certainty import MARKS
from analysis.comparison import Comparison, Guest, Pair, PhaseComparison
from analysis.cycles import Modelled
from analysis.rank import Finding
from analysis.statistics import Change
from analysis.text import listed, number, ratio
from analysis.views import cycles, table
from analysis.views.escape import SAID, clean

WIDTH: Final = 80
_TOP: Final = 6  # findings over all phases that are shown per guest
_NAMES: Final = 4  # functions named in a line

_PLAIN: Final = Console(file=io.StringIO(), width=WIDTH, color_system=None, legacy_windows=False)


def explain(comparison: Comparison, console: Console, *, brief: bool = False) -> None:
    """Print a comparison; in colour where ``console`` has it, and without its phases one by one if ``brief``."""
    for line in _lines(comparison, brief):
        console.print(line, no_wrap=True, overflow="ellipsis", highlight=False)


def render(comparison: Comparison, *, brief: bool = False) -> str:
    """A comparison as plain text, in lines of at most ``WIDTH`` terminal cells."""
    return "\n".join(line.plain.rstrip() for line in _lines(comparison, brief)) + "\n"


def fit(text: str, width: int) -> str:
    """``text`` in exactly ``width`` terminal cells, cut with an ellipsis where it is longer."""
    if len(text) <= width and text.isascii():
        return text.ljust(width)
    return set_cell_size(text, width) if cell_len(text) <= width else set_cell_size(text, width - 1) + "…"


def _lines(comparison: Comparison, brief: bool) -> Iterator[Text]:
    yield from _summary(comparison)
    yield Text()
    yield from _overview(comparison)
    for pair in comparison.pairs:
        yield Text()
        yield from _pair(pair)
        yield from _cycles(pair, comparison)
        yield from () if brief else _phases(pair)
        yield from _not_compared(pair)


def _summary(comparison: Comparison) -> Iterator[Text]:
    guests = comparison.guests
    yield _cut(f"{clean(comparison.app)}: {len(guests) - 1} guest{'s' if len(guests) > 2 else ''} against "
               f"{clean(comparison.base.spec)}", "bold")  # fmt: skip
    yield _cut("Counted are executed instructions, not time; a string instruction counts once,")
    yield _cut("and the bytes that it moves or sets are shown beside it.")
    machines = comparison.machines
    machine = f"machine {clean(comparison.base.machine)}, " if len(machines) == 1 else ""
    yield _cut(f"QEMU {clean(comparison.qemu)}, {machine}{comparison.mode} mode, one CPU line for all:")
    yield _cut(f"  -cpu {clean(comparison.cpu)}")
    for guest in guests:
        yield _cut(f"  {fit(clean(guest.spec), 28)} {fit(clean(guest.kernel), 24)} {_seeds(guest)}")
        if guest.fair and len({guest.fair for guest in guests}) > 1:
            yield from _block(f"fair for {guest.fair}", "    ", "      ")
    if len(machines) > 1:
        told = [f"{listed(specs)} on {machine}" for machine, specs in machines.items()]
        yield from _block(f"machines differ: {'; '.join(told)}", "", "  ", "yellow")
    for note in comparison.notes:
        yield from _block(f"note: {note}", "", "  ", "yellow")


def _overview(comparison: Comparison) -> Iterator[Text]:
    based = f"the ratio is to {clean(comparison.base.spec)}"
    spread = "" if min(len(guest.seeds) for guest in comparison.guests) < 2 else ", ± % half its range over the seeds"
    yield _cut(f"Per op; {based}{spread}:")
    for line, strong in table.lines(comparison, lambda text, width: fit(clean(text), width)):
        yield _cut(line, "bold" if strong else "dim" if line.startswith(" ") else "")
    told = [f"{guest.spec} in {len(phases)} ({', '.join(phases)})" for position, guest in enumerate(comparison.guests)
            if (phases := comparison.overview.fewest_of(position))]  # fmt: skip
    if told:
        yield from _block(f"Fewest instructions of all: {'; '.join(told)}.", "", "  ")
    if told := seeds.modes(comparison):
        yield from _block(f"{seeds.MODES}: {'; '.join(told)}.", "", "  ")
    if any(entry.in_libc for row in comparison.overview.rows for entry in row.entries):
        yield from _block("libc: there, or on the base, it is libc's work, which is not compared.", "", "  ")
    missing = [f"{row.name} on {listed(specs)}" for row in comparison.overview.rows
               if (specs := [guest.spec for guest, entry in zip(comparison.guests, row.entries, strict=True)
                             if entry.instructions is None])]  # fmt: skip
    if missing:
        yield from _block(f"-: {'; '.join(missing)}. Why is said with each guest below.", "", "  ")


def _seeds(guest: Guest) -> str:
    count = len(guest.seeds)
    if count < 2:
        return "1 seed"
    return f"{count} seeds, {'identical' if guest.runs < 2 else f'{guest.runs} different'}"


def _pair(pair: Pair) -> Iterator[Text]:
    base, other = clean(pair.base.spec), clean(pair.other.spec)
    title = fit(f"{other} against {base}", 74).rstrip()
    yield Text(f"== {title} " + "=" * (WIDTH - 4 - cell_len(title)), style="bold cyan")
    for key, left, right in pair.differing_reports:
        yield from _block(f"differs: {key} {left} -> {right}", "", "  ", "yellow")
    changes = {"instructions": pair.instructions, "rep_bytes": pair.string_bytes}
    yield from _block(f"{other} {pair.headline}. {pair.links}", "", "  ", "bold")
    yield from (_change_line(name, changes[name]) for name in sorted(changes, key=lambda name: name != pair.leads))
    yield from _aside(pair.aside)
    yield from _left_out(pair.left_out)
    yield _cut(f"{len(pair.differing_phases)} of {len(pair.phases)} phases differ"
               + (" in this one run." if pair.one_run else " beyond the seed spread."))  # fmt: skip
    if said := seeds.few(pair):
        yield from _block(said, "", "  ", "yellow")
    for rank, finding in enumerate(pair.in_order[:_TOP], start=1):
        tail = f"({words.part(finding, changes[finding.cost], base)})"
        yield from _block(f"{rank}. {finding.sentence} {tail}", "  ", "     ")
    yield from _block(pair.what_if, "", "  ") if pair.what_if else ()
    yield from _block(pair.apart, "", "  ") if pair.apart else ()


def _cycles(pair: Pair, comparison: Comparison) -> Iterator[Text]:
    for text, is_row in cycles.tables(pair, pair.in_order[:_TOP], comparison.prices):
        yield from [_cut(f"  {text}")] if is_row else _block(text, "  ", "    ")


def _phases(pair: Pair) -> Iterator[Text]:
    differing = [phase for phase in pair.phases if phase.differs]
    for phase in differing:
        yield Text()
        yield from _phase(phase)
    rest = [phase.name for phase in pair.phases if not phase.differs and not all(phase.in_libc)]
    for phase in pair.phases:
        if all(phase.in_libc):
            yield Text()
            yield from _block(f"{phase.name}: {phase.headline}", "", "  ")
    if rest:
        yield Text()
        beyond = "" if pair.one_run else " beyond the seed spread"
        yield from _block(f"No difference{beyond}: {', '.join(rest)}.", "", "  ")


def _not_compared(pair: Pair) -> Iterator[Text]:
    if pair.not_compared:
        yield Text()
        yield _cut("Not compared:")
        for name, reason in pair.not_compared:
            yield from _block(f"{name}: {reason}", "  ", "    ")


def _aside(layers: Sequence[tuple[str, float, float]], per: str = "") -> Iterator[Text]:
    for layer, base, other in layers:
        if base or other:
            yield _cut(f"  {layer + per:<16} {number(base):>9} -> {number(other):<9} not compared", "dim")


def _left_out(shares: tuple[float, float]) -> Iterator[Text]:
    if max(shares) >= 0.001:
        base, other = (f"{100 * share:.1f} %" for share in shares)
        yield _cut(f"  left out as the emulator's: {base} -> {other} of all instructions")


def _phase(phase: PhaseComparison) -> Iterator[Text]:
    yield from _block(f"{phase.name}: {phase.headline}", "", "  ", "bold")
    yield from _block(f"{phase.question} ({phase.ops:,} ops; an op is {phase.op})".lstrip(), "  ", "  ", "dim")
    yield _change_line("instructions", phase.instructions, "/op")
    yield _change_line("rep_bytes", phase.string_bytes, "/op")
    if said := seeds.wide(phase.leading):
        yield _cut(f"  difference/op    {said}")
    if len(phase.modelled) == 1:  # of several machines there would be too many lines
        (one,) = phase.modelled
        yield _cut(f"  {'cycles/op':<16} {cycles.span(one.base)} -> {cycles.span(one.other)} modelled")
        yield from _block(_of_machine(one), "    ", "    ")
    yield from _aside(phase.aside, "/op")
    yield from _left_out(phase.left_out)
    tables = [(phase.findings, "instr/op", phase.instructions), (phase.byte_findings, "bytes/op", phase.string_bytes)]
    for findings, unit, change in tables if phase.leads == "instructions" else tables[::-1]:
        if change.verdict != "same":
            yield from _table(findings, unit)
    for text in filter(None, (words.costly(phase.costly), phase.what_if, phase.apart)):
        yield from _block(text, "  ", "  ")


def _change_line(cost: str, change: Change, per: str = "") -> Text:
    name = ("instructions" if cost == "instructions" else "string bytes") + per
    sides = f"{number(change.base.mean):>9} -> {number(change.other.mean):<9}"
    return _cut(f"  {name:<16} {sides} {ratio(change.ratio):>7}  {_mark(change)}")


def _mark(change: Change) -> str:
    """What the seeds say, in at most 28 characters."""
    spread = change.said
    return {"same": f"same, {spread}", "differs": spread, "within seed spread": f"within {spread}"}[change.verdict]


def _table(findings: Sequence[Finding], unit: str) -> Iterator[Text]:
    if not findings:
        return
    yield _cut(f"  {'operation':<22} {'layer':<13}{unit:>10} {'share':>7}{'count':>10} {'unit cost':>10}", "underline")
    for finding in findings:
        rest = len(finding.operations) - 1
        what = fit(clean(finding.operations[0]), 22 if not rest else 14) + ("" if not rest else f"{f'+{rest} more':>8}")
        parts = f"{number(finding.count, sign=True):>10} {number(finding.unit, sign=True):>10}"
        if abs(finding.structural) >= 0.5 * abs(finding.change.delta):
            parts = f"{'on one side only':>21}"
        row = (f"  {what} {fit(clean(words.layer(finding)), 13)}{number(finding.change.delta, sign=True):>10} "
               f"{_share(finding.share):>7}{parts}")  # fmt: skip
        yield _cut(row, "dim" if finding.within_spread else "")
        yield from _block(_named(finding), "      ", "      ", "dim")


def _named(finding: Finding) -> str:
    """The functions with their differences; what only the guest that executes less has is set apart."""
    mine = [function for function in finding.functions if function not in finding.instead][:_NAMES]
    rest = len(finding.functions) + finding.more_functions - len(mine) - len(finding.instead)
    named, instead = ([f"{function.name} {number(function.delta, sign=True)}" for function in functions]
                      for functions in (mine, finding.instead))  # fmt: skip
    text = ", ".join([*named, f"{rest} more"] if rest > 0 else named)
    text += f"; instead of {', '.join(instead)}" if instead else ""
    if 0.05 <= abs(finding.structural / finding.change.delta) < 0.5:
        text += f"; {number(finding.structural, sign=True)} of it on one side only"
    text += f". {finding.note}" if finding.note else ""
    if len(finding.modelled) == 1:
        text += f"{'' if finding.note else '.'} Modelled cycles: {_of_machine(finding.modelled[0])}"
    mark = "" if finding.certainty == "few seeds" else MARKS[finding.certainty]  # said once, above
    return text + (f" ({mark})" if mark else "")


def _of_machine(one: Modelled) -> str:
    return f"{cycles.span(one.delta, sign=True)}, {cycles.decided(one.decider) if one.decider else one.sign}."


def _share(share: float) -> str:
    return f"{share:.0%}".replace("%", " %") if abs(share) < 9.995 else ">999 %"


def _cut(text: str, style: str = "") -> Text:
    return Text(fit(text, WIDTH).rstrip(), style=style)


def _block(text: str, first: str, later: str, style: str = "") -> Iterator[Text]:
    """``text`` over as many lines as it needs."""
    for line_number, line in enumerate(_wrapped(text, WIDTH - max(len(first), len(later)))):
        yield Text.assemble(first if line_number == 0 else later, (line, style))


def _wrapped(text: str, width: int) -> Iterable[str]:
    text = clean(text, SAID)
    if len(text) <= width and text.isascii():
        return [text.rstrip()]
    return [line.plain.rstrip() for line in Text(text).wrap(_PLAIN, width)]
