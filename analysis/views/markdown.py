"""``weaklink explain --format markdown``: the same statements as on the terminal, for an issue or a wiki."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from analysis import words
from analysis.certainty import MARKS
from analysis.comparison import Comparison, Pair, PhaseComparison
from analysis.rank import Finding
from analysis.seeds import MODES, few, interval, modes
from analysis.text import number, ratio
from analysis.views import cycles
from analysis.views.escape import SAID
from analysis.views.escape import for_markdown as safe
from analysis.words import costly, part


def render(comparison: Comparison) -> str:
    """The comparison as Markdown (GitHub's tables), with all guest text escaped."""
    return "\n".join(_lines(comparison)) + "\n"


def _lines(comparison: Comparison) -> Iterator[str]:
    yield f"# {safe(comparison.app)}: against {safe(comparison.base.spec)}"
    yield ""
    yield ("Counted are executed instructions, not time. A string instruction counts once; the bytes that it moves or "
           "sets are beside it.")  # fmt: skip
    yield ""
    yield (f"QEMU {safe(comparison.qemu)}, CPU line {safe(comparison.cpu)}, {safe(comparison.mode)} mode.")
    yield ""
    yield from _table(("guest", "kernel", "machine", "seeds", "different runs", "what it is fair for"),
                      [(safe(guest.spec), safe(guest.kernel), safe(guest.machine), str(len(guest.seeds)),
                        str(guest.runs), safe(guest.fair)) for guest in comparison.guests])  # fmt: skip
    for note in comparison.notes:
        yield f"- note: {safe(note, SAID)}"
    yield ""
    yield from _overview(comparison)
    for pair in comparison.pairs:
        yield ""
        yield from _pair(pair)


def _overview(comparison: Comparison) -> Iterator[str]:
    """All guests beside each other: instructions per op, and the ratio to the base."""
    table = comparison.overview
    rows = []
    for row in [*table.rows, *([table.whole] if table.whole else [])]:
        costs = [("", [entry.instructions for entry in row.entries])]
        if row.bytes_matter:
            costs.append((": string bytes", [entry.string_bytes for entry in row.entries]))
        for what, changes in costs:
            apart = [entry.apart if entry.in_libc and not what else 0.0 for entry in row.entries]
            figures = ["-" if one is None else number(one.other.mean + more)
                       for one, more in zip(changes, apart, strict=True)]  # fmt: skip
            if changes[0] is not None:
                against = ["libc" if entry.in_libc else ratio(one.ratio) if one else ""
                           for entry, one in zip(row.entries, changes, strict=True)]  # fmt: skip
                figures[1:] = [f"{figure} ({text})" if text else figure
                               for figure, text in zip(figures[1:], against[1:], strict=True)]  # fmt: skip
            rows.append((safe(row.name) + what, *figures))
    specs = [safe(guest.spec) for guest in comparison.guests]
    yield from _table(("instructions per op", *specs), rows)
    for position, spec in enumerate(specs):
        if phases := table.fewest_of(position):
            yield f"- Fewest instructions on {spec}: {safe(', '.join(phases))}"
    if told := modes(comparison):
        yield f"- {MODES}: {safe('; '.join(told), SAID)}"


def _pair(pair: Pair) -> Iterator[str]:
    yield f"## {safe(pair.other.spec)} against {safe(pair.base.spec)}"
    yield ""
    for key, base, other in pair.differing_reports:
        yield f"- differs: {safe(key)} {safe(base)} -> {safe(other)}"
    yield f"**{safe(pair.other.spec)} {safe(pair.headline)}.** {safe(pair.links)}"
    yield ""
    yield from (safe(few(pair)), "") if few(pair) else ()
    for rank, finding in enumerate(pair.in_order, start=1):
        tail = part(finding, pair.changes[finding.cost], pair.base.spec)
        yield f"{rank}. {safe(finding.sentence, SAID)} ({safe(tail)})"
    yield ""
    yield from (safe(pair.what_if), "") if pair.what_if else ()
    yield from (safe(pair.apart), "") if pair.apart else ()
    yield from _cycles(pair)
    for layer, left, right in pair.aside:
        yield f"- not compared: layer {layer}, {number(left)} and {number(right)} instructions"
    if max(pair.left_out) >= 0.001:
        yield f"- left out as the emulator's: {pair.left_out[0]:.1%} and {pair.left_out[1]:.1%} of all instructions"
    yield ""
    yield from _table(
        ("phase", "instructions/op, base", "other", "ratio", "string bytes/op, base", "other", "seeds say",
         "95 % interval of the difference"),
        [
            (safe(phase.name), number(phase.instructions.base.mean), number(phase.instructions.other.mean),
             ratio(phase.instructions.ratio),
             number(phase.string_bytes.base.mean), number(phase.string_bytes.other.mean),
             phase.leading.verdict, interval(phase.leading))
            for phase in pair.phases
        ],
    )  # fmt: skip
    for phase in pair.phases:
        if phase.differs:
            yield from _phase(phase)
    if pair.not_compared:
        yield ""
        yield "Not compared:"
        yield ""
        for name, reason in pair.not_compared:
            yield f"- {safe(name)}: {safe(reason)}"


def _cycles(pair: Pair) -> Iterator[str]:
    if not pair.modelled:
        return
    yield f"Modelled cycles over all phases: {cycles.NOTHING_TIMED}"
    yield ""
    yield from _table(cycles.HEAD, [tuple(map(safe, row)) for row in cycles.rows(pair.modelled)])
    yield from (f"- {safe(text, SAID)}" for text in cycles.notes(pair.modelled))
    for rank, finding in enumerate(pair.in_order, start=1):
        yield f"- finding {rank}: {safe(cycles.each(finding.modelled), SAID)}"
    yield ""


def _phase(phase: PhaseComparison) -> Iterator[str]:
    yield ""
    yield f"### {safe(phase.name)}: {safe(phase.headline)}"
    yield ""
    if phase.question:
        yield f"{safe(phase.question)} ({phase.ops:,} ops; an op is {safe(phase.op)})"
        yield ""
    rows = []
    for finding in phase.in_order:
        unit = "instr" if finding.cost == "instructions" else "bytes"
        names = [f"{safe(function.name)} {number(function.delta, sign=True)}" for function in finding.functions]
        if finding.more_functions:
            names.append(f"{finding.more_functions} more")
        structural = number(finding.structural, sign=True) if finding.structural else ""
        rows.append((safe(", ".join(finding.operations)), safe(words.layer(finding)),
                     f"{number(finding.change.delta, sign=True)} {unit}", _share(finding),
                     number(finding.count, sign=True), number(finding.unit, sign=True), structural,
                     interval(finding.change), ", ".join(names)))  # fmt: skip
    for text in filter(None, (costly(phase.costly), cycles.each(phase.modelled))):
        yield safe(text, SAID)
        yield ""
    yield from _table(("operations", "layer", "delta/op", "share", "count", "unit cost", "one side only",
                       "95 % interval", "functions"), rows)  # fmt: skip
    for text in filter(None, (phase.what_if, phase.apart)):
        yield safe(text, SAID)
        yield ""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    if rows:
        yield f"| {' | '.join(head)} |"
        yield "|" + "---|" * len(head)
        yield from (f"| {' | '.join(row)} |" for row in rows)
        yield ""


def _share(finding: Finding) -> str:
    mark = MARKS[finding.certainty]
    return f"{finding.share * 100:.0f} %" + (f", {mark}" if mark else "")
