"""The table of all phases on all guests, as HTML."""

from __future__ import annotations

from collections.abc import Iterator

from analysis import seeds
from analysis.comparison import Comparison
from analysis.overview import Row
from analysis.statistics import Change
from analysis.text import number, ratio
from analysis.views.escape import SAID
from analysis.views.escape import for_html as safe
from analysis.views.table import half_range


def render(comparison: Comparison) -> Iterator[str]:
    """The table, and which guest executes least where."""
    overview, specs = comparison.overview, [safe(guest.spec) for guest in comparison.guests]
    base = specs[0]
    yield '<h3>All guests, phase by phase</h3>\n<div class="wide"><table><caption>Per op of each phase, with the ratio '
    yield f"to {base} and &plusmn; half its range over the seeds, in percent of it. String bytes stand below where "
    yield "they matter; in bold is who executes fewest instructions, if the seeds alone do not make it so"
    in_libc = any(entry.in_libc for row in overview.rows for entry in row.entries)
    yield "; <i>libc</i>: there, or on the base, it is libc's work, which is not compared" if in_libc else ""
    yield ".</caption>"
    heads = "".join(f"<th scope=col class=n>{spec}</th>" for spec in specs)
    yield f"<thead><tr><th scope=col>phase</th>{heads}</tr></thead>\n<tbody>"
    for row in [*overview.rows, *([overview.whole] if overview.whole else [])]:
        yield f"<tr><th scope=row>{safe(row.name)}</th>{_cells(row, 'instructions')}</tr>\n"
        if row.bytes_matter:
            yield f"<tr class=quiet><th scope=row>&emsp;string bytes</th>{_cells(row, 'rep_bytes')}</tr>\n"
    yield "</tbody></table></div>\n<ul>"
    for position, spec in enumerate(specs):
        if phases := overview.fewest_of(position):
            yield f"<li>Fewest instructions on {spec}: {safe(', '.join(phases))}.</li>\n"
    if told := seeds.modes(comparison):
        yield f"<li>{seeds.MODES}: {safe('; '.join(told), SAID)}.</li>\n"
    yield "</ul>\n"


def _cells(row: Row, cost: str) -> str:
    cells = []
    based = row.entries[0].instructions is not None
    for position, entry in enumerate(row.entries):
        change = entry.instructions if cost == "instructions" else entry.string_bytes
        if change is None:
            cells.append(f'<td class=n title="{safe(entry.why)}">-</td>')
            continue
        figure = number(change.other.mean + (entry.apart if entry.in_libc and cost == "instructions" else 0.0))
        if cost == "instructions" and row.fewest == position:
            figure = f"<b>{figure}</b>"
        beside = " <span class=quiet>libc</span>" if entry.in_libc else _ratio(change) if based else ""
        cells.append(f"<td class=n>{figure}{beside if position else ''}</td>")
    return "".join(cells)


def _ratio(change: Change) -> str:
    kind = "" if change.verdict != "differs" else " class=more" if change.delta > 0 else " class=less"
    spread = half_range(change)
    return f" <span{kind}>{safe(ratio(change.ratio)).replace('x', '&times;')}</span>" + (
        f" <small class=quiet>{spread}</small>" if spread else "")  # fmt: skip
