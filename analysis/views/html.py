"""``weaklink report``: one page that needs no network: the findings in words, the tables, an icicle per guest."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import Final

from analysis import seeds, words
from analysis.certainty import MARKS
from analysis.comparison import Comparison, Pair, PhaseComparison
from analysis.rank import Finding
from analysis.statistics import Change
from analysis.text import listed, number
from analysis.views import charts, cycles, difference, failures, flames, overview
from analysis.views.escape import SAID
from analysis.views.escape import for_html as safe
from probes.recording import Recording

FUNCTIONS: Final = 6
"""Functions named in a row of a table; how many more there are is said."""


def render(comparison: Comparison, recordings: Sequence[Recording], failed: Sequence[failures.Failure] = ()) -> str:
    """The page.  ``recordings`` were compared, runs that ``failed`` were not; all text is escaped here."""
    return "".join(_page(comparison, recordings, failed))


def _page(comparison: Comparison, recordings: Sequence[Recording], failed: Sequence[failures.Failure]) -> Iterator[str]:
    from plotly.offline import get_plotlyjs

    stacks = list(flames.render(recordings))
    drawing = ("report.js", "difference.js", *(["flames.js"] if stacks else []))
    style, *code = ((files("analysis.views") / name).read_text(encoding="utf-8") for name in ("report.css", *drawing))
    scripts = (get_plotlyjs(), *code)
    others = listed([safe(pair.other.spec) for pair in comparison.pairs])
    title = f"{safe(comparison.app)}: {others} against {safe(comparison.base.spec)}"
    yield '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
    # Nothing is fetched, and no script runs but these, whatever a guest has put into its names.
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    yield ("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
           f'script-src {allowed}">')  # fmt: skip
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{title}</title><style>{style}</style></head><body>\n<header><h1>{title}</h1>\n"
    yield (f"<p>What the app {safe(comparison.app)} asks of a kernel, and what that costs on each guest. Counted are "
           "executed instructions, never time. A string instruction counts once, however much it moves; the bytes that "
           "it moves or sets are shown beside it, as string bytes.</p></header>\n")  # fmt: skip
    yield '<nav aria-label="Sections"><ul>'
    yield '<li><a href="#failed">Failed runs</a></li>' if failed else ""
    yield '<li><a href="#short">In short</a></li>'
    yield from (f'<li><a href="#pair-{position}">{safe(pair.other.spec)}</a></li>'
                for position, pair in enumerate(comparison.pairs))  # fmt: skip
    yield '<li><a href="#charts">Charts</a></li>'
    yield '<li><a href="#flames">Call stacks</a></li>' if stacks else ""
    yield '<li><a href="#guests">Guests</a></li></ul></nav>\n<main>\n'
    yield from failures.render(failed)
    yield '<section><h2 id="short">In short</h2>\n'
    for pair in comparison.pairs:
        yield from _short(pair)
    yield from (f'<p class="note">{safe(note, SAID)}</p>\n' for note in comparison.notes)
    yield from overview.render(comparison)
    yield "</section>\n"
    for position, pair in enumerate(comparison.pairs):
        yield from _pair(pair, position)
    yield '<section><h2 id="charts">Where the instructions are</h2>\n<p>From left to right: guest, phase, operation, '
    yield "layer, function, with the cost per op. A click on a box opens it in all charts, a click on the bar above "
    yield "goes back. Side by side, phases have the same height, as their ops are different things; inside a phase, "
    yield "all guests have one scale, so that what is higher costs more. "
    yield "What the emulator does is left out.</p>\n"
    yield from charts.render(comparison, recordings)
    yield from difference.data(comparison)
    yield "</section>\n"
    yield from stacks
    yield from _guests(comparison)
    yield "</main>\n"
    yield from (f"<script>{text}</script>\n" for text in scripts)
    yield "</body></html>\n"


def _short(pair: Pair) -> Iterator[str]:
    yield f"<h3>{safe(pair.other.spec)} {safe(pair.headline)}</h3>\n"
    yield f"<p>{safe(pair.links)}</p>\n" if pair.links else ""
    beyond = "in this one run" if pair.one_run else "beyond the seed spread"
    yield f"<p>{len(pair.differing_phases)} of {len(pair.phases)} phases differ {beyond}"
    told = [f"{safe(phase.name)} ({_ratio(_leading(phase))})" for phase in _largest(pair)]
    yield f", most of all {listed(told)}.</p>\n" if told else ".</p>\n"
    yield f'<p class="note">{safe(said)}</p>\n' if (said := seeds.few(pair)) else ""
    for key, base, other in pair.differing_reports:
        yield f'<p class="note">Differs: {safe(key)} {safe(base)} &rarr; {safe(other)}</p>\n'
    yield "<ol>\n"
    for finding in pair.in_order:
        part = words.part(finding, pair.changes[finding.cost], pair.base.spec)
        yield f"<li>{safe(finding.sentence, SAID)} <span class=quiet>({safe(part)})</span>"
        yield f"<br><span class=quiet>{safe(cycles.each(finding.modelled), SAID)}</span></li>\n"
    yield f"</ol>\n<p>{safe(pair.what_if)}</p>\n" if pair.what_if else "</ol>\n"
    yield f"<p>{safe(pair.apart)}</p>\n" if pair.apart else ""
    yield from _cycles(pair)
    if max(pair.left_out) >= 0.001:
        yield f"<p class=quiet>Left out as the emulator's: {pair.left_out[0]:.1%} and {pair.left_out[1]:.1%} "
        yield "of all instructions.</p>\n"
    told = [f"{layer} {number(base)} and {number(other)}" for layer, base, other in pair.aside]
    yield f"<p class=quiet>Not compared, in instructions: {listed(told)}.</p>\n" if told else ""


def _cycles(pair: Pair) -> Iterator[str]:
    if not pair.modelled:
        yield f"<p class=quiet>{cycles.NONE}</p>\n"
        return
    caption = f"Modelled cycles over all phases, base is {safe(pair.base.spec)}, other is {safe(pair.other.spec)}: "
    rows = [tuple(map(safe, row)) for row in cycles.rows(pair.modelled)]
    yield from _table(caption + safe(cycles.NOTHING_TIMED), cycles.HEAD, rows, ("w", "n", "n", "n", ""))
    yield from (f"<p class=quiet>{safe(text, SAID)}</p>\n" for text in cycles.notes(pair.modelled))


def _pair(pair: Pair, position: int) -> Iterator[str]:
    other, base = safe(pair.other.spec), safe(pair.base.spec)
    yield f'<section><h2 id="pair-{position}">{other} against {base}</h2>\n'
    head = "".join(f"<th scope=col class=n>{name}</th>" for name in ("base", "other", "ratio", "spread") * 2)
    rows = []
    for phase in pair.phases:
        name = safe(phase.name)
        if phase.differs:
            name = f'<a href="#phase-{position}-{phase.number}">{name}</a>'
        cells = "".join(f"<td class=n>{cell}</td>" for change in (phase.instructions, phase.string_bytes)
                        for cell in _figures(change, phase.differs))  # fmt: skip
        rows.append(f"<tr><th scope=row>{name}</th>{cells}</tr>\n")
    yield from _wide(
        f"Per op of each phase; base is {base}, other is {other}. A ratio in bold differs beyond the seed spread, "
        "which is from the lowest to the highest run, relative to the larger mean; <i>within</i> says that the seeds "
        "alone move it as much. String bytes matter from one per hundred instructions.",
        "<tr><th scope=col rowspan=2>phase</th><th scope=colgroup colspan=4 class=g>instructions per op</th>"
        f"<th scope=colgroup colspan=4 class=g>string bytes per op</th></tr><tr>{head}</tr>",
        rows,
    )
    yield from difference.figure(pair, position)
    if any(phase.differs for phase in pair.phases):
        yield "<h3>Phases that differ</h3>\n<p class=quiet>The part <i>count</i> comes from operations that are asked "
        yield "for more or less often, <i>unit cost</i> from what each of them costs; they add up to the difference, "
        yield "with what only one side has.</p>\n"
    for phase in pair.phases:
        if phase.differs:
            yield from _phase(phase, position, phase in _largest(pair))
    if pair.not_compared:
        yield "<h3>Not compared</h3>\n"
        yield from _table("Phases without figures on both sides.", ("phase", "why"),
                          [(safe(name), safe(reason)) for name, reason in pair.not_compared])  # fmt: skip
    yield "</section>\n"


def _phase(phase: PhaseComparison, position: int, opened: bool) -> Iterator[str]:
    yield f"<details{' open' if opened else ''}><summary><h4>{safe(phase.name)}</h4> {safe(phase.headline)}</summary>\n"
    yield f'<p class=quiet id="phase-{position}-{phase.number}">{safe(phase.question)} '
    yield f"{phase.ops:,} ops; one op: {safe(phase.op)}. "
    if max(phase.left_out) >= 0.001:
        yield f"Left out as the emulator's: {phase.left_out[0]:.1%} and {phase.left_out[1]:.1%} of the instructions. "
    place = f'<button type=button data-phase="{phase.number}" data-cost="{phase.leads}"'
    yield f'{place} data-beside="{position}">Show side by side</button> {place}>Show in the charts</button></p>\n'
    told = words.costly(phase.costly), cycles.each(phase.modelled), phase.what_if, phase.apart
    yield from (f"<p>{safe(text, SAID)}</p>\n" for text in told if text)
    both = (
        ("instructions", phase.instructions, phase.findings),
        ("string bytes", phase.string_bytes, phase.byte_findings),
    )
    for cost, change, findings in both if phase.leads == "instructions" else both[::-1]:
        if change.verdict != "same":
            yield from _findings(safe(phase.name), cost, change, findings)
    yield "</details>\n"


def _findings(phase: str, cost: str, change: Change, findings: Sequence[Finding]) -> Iterator[str]:
    structural = any(abs(finding.structural) >= 0.005 * abs(finding.change.delta) for finding in findings)
    rows = []
    for finding in findings:
        direction = "more" if finding.change.delta > 0 else "less"
        mine = [function for function in finding.functions if function not in finding.instead]
        names = [f"{safe(function.name)}&nbsp;{number(function.delta, sign=True)}" for function in mine[:FUNCTIONS]]
        rest = len(finding.functions) - len(names) + finding.more_functions - len(finding.instead)
        instead = [f"{safe(function.name)}&nbsp;{number(function.delta, sign=True)}" for function in finding.instead]
        rows.append((
            safe(words.operations(finding, 4)), safe(words.layer(finding)),
            f"<span class={direction}>{number(finding.change.delta, sign=True)}</span>",
            _share(finding) + (f"<br>{MARKS[finding.certainty]}" if MARKS[finding.certainty] else ""),
            seeds.interval(finding.change),
            number(finding.count, sign=True), number(finding.unit, sign=True),
            *([number(finding.structural, sign=True)] if structural else []),
            ", ".join([*names, f"{rest} more"] if rest > 0 else names)
            + (f"<br>instead of {', '.join(instead)}" if instead else "")
            + "".join(f"<br>{safe(text, SAID)}" for text in (finding.note, cycles.each(finding.modelled)) if text),
        ))  # fmt: skip
    one_side = ["one side only"] if structural else []
    head = ("operations", "layer", "difference", "share", "95 % interval", "count", "unit cost", *one_side, "functions")
    caption = f"{cost.capitalize()} per op of {phase}: {number(change.base.mean)} &rarr; {number(change.other.mean)}"
    caption += f" ({said})" if (said := seeds.wide(change)) else ""
    caption += ", within the seed spread." if change.verdict == "within seed spread" else "."
    yield from _table(caption, head, rows, ("s", "w", *["n"] * (len(head) - 3), "f"))


def _guests(comparison: Comparison) -> Iterator[str]:
    yield '<section><h2 id="guests">What was compared</h2>\n'
    yield (f"<p>QEMU {safe(comparison.qemu)}, CPU line <code>{safe(comparison.cpu)}</code> for all guests, "
           f"{safe(comparison.mode)} mode.</p>\n")  # fmt: skip
    yield from _table("The guests; seeds whose ledgers are the same count as one run.",
                      ("guest", "kernel", "machine", "seeds", "different runs", "what it is fair for"),
                      [(safe(guest.spec), f"{safe(guest.kernel)}<br><span class=quiet>{safe(guest.provenance)}</span>",
                        safe(guest.machine), safe(", ".join(map(str, guest.seeds))), str(guest.runs), safe(guest.fair))
                       for guest in comparison.guests])  # fmt: skip
    rows = []
    for key in sorted({key for guest in comparison.guests for key in guest.reports}):
        said = [(guest.spec, guest.reports.get(key, "")) for guest in comparison.guests]
        same = len({value for _, value in said}) == 1
        whose = [("all", said[0][1])] if same else said
        rows += [(safe(key), safe(spec), safe(value)) for spec, value in whose]
    head = ("what", "guest", "says")
    yield from _table("What the guests say of themselves, under the first seed.", head, rows, ("", "", "f"))
    yield "</section>\n"


def _table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]],
           kinds: Sequence[str] = ()) -> Iterator[str]:  # fmt: skip
    """A table of cells that are HTML already; ``kinds`` are the classes of its columns."""
    marks = [f" class={kind}" if kind else "" for kind in kinds] or [""] * len(head)
    top = "".join(f"<th scope=col{mark if mark == ' class=n' else ''}>{name}</th>"
                  for name, mark in zip(head, marks, strict=True))  # fmt: skip
    if rows:
        cells = ("".join(f"<td{mark}>{cell}</td>" for cell, mark in zip(row, marks, strict=True)) for row in rows)
        yield from _wide(caption, f"<tr>{top}</tr>", [f"<tr>{row}</tr>\n" for row in cells])


def _wide(caption: str, head: str, rows: Sequence[str]) -> Iterator[str]:
    """A table that scrolls by itself where it is wider than the page."""
    yield f'<div class="wide"><table><caption>{caption}</caption><thead>{head}</thead>\n'
    yield f"<tbody>{''.join(rows)}</tbody></table></div>\n"


def _figures(change: Change, matters: bool) -> tuple[str, str, str, str]:
    spread = change.said.removeprefix("spread ").replace(" %", "&nbsp;%")
    ratio = _ratio(change)
    if matters and change.verdict == "differs":
        ratio = f"<b class={'more' if change.delta > 0 else 'less'}>{ratio}</b>"
    mark = {"same": "same", "differs": spread, "within seed spread": f"within {spread}"}[change.verdict]
    return number(change.base.mean), number(change.other.mean), ratio, mark


def _largest(pair: Pair) -> list[PhaseComparison]:
    """The phases that differ most; those are open on the page."""
    differing = [phase for phase in pair.phases if phase.differs]
    return sorted(differing, key=lambda phase: -_relative(_leading(phase)))[:3]


def _leading(phase: PhaseComparison) -> Change:
    return phase.instructions if phase.leads == "instructions" else phase.string_bytes


def _relative(change: Change) -> float:
    return float("inf") if change.relative is None else abs(change.relative)


def _ratio(change: Change) -> str:
    ratio = change.ratio
    return "-" if ratio is None else "&gt;&times;1000" if ratio >= 1000 else f"&times;{ratio:.2f}"


def _share(finding: Finding) -> str:
    return f"{finding.share:.0%}".replace("%", " %") if abs(finding.share) < 9.995 else "&gt;999 %"
