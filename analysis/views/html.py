"""``weaklink report``: one page that needs no network: the findings in words, the table, an icicle per guest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from analysis.compare import Comparison, Pair, PhaseComparison
from analysis.ledger import GuestLedger, of_guest
from analysis.rank import Finding
from analysis.statistics import Change
from analysis.views import icicle
from analysis.views.escape import for_html as safe
from analysis.words import number
from probes.events import LAYERS
from probes.recording import Recording

ALL_NODES: Final = 6000
"""Icicle nodes of a page; with plotly's 4.8 MB this keeps it below 6 MB."""

_HUES: Final = tuple(f"hsl({(position * 137) % 360},38%,{58 + 8 * (position % 3)}%)" for position in range(len(LAYERS)))
_PLAIN: Final = "#b8bcc4"

_STYLE: Final = """
:root { color-scheme: light dark; --line: #8886; --soft: #8882; --more: #c2571a; --less: #2a7fb8; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1200px; margin: 2rem auto; padding: 0 1.5rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line) }
table { border-collapse: collapse; width: 100%; margin: .6rem 0 1.2rem; font-size: 14px }
th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top }
th { background: var(--soft); font-weight: 600 } .n { text-align: right; font-variant-numeric: tabular-nums }
td.f { font-family: ui-monospace, monospace; font-size: 12.5px; overflow-wrap: anywhere }
li { margin: .4rem 0 } .quiet { opacity: .7 } .note { border-left: 3px solid var(--more); padding-left: .7rem }
.more { color: var(--more) } .less { color: var(--less) } summary { cursor: pointer; padding: .3rem 0 }
code { font-size: 13px; overflow-wrap: anywhere } .chart { height: 620px; border: 1px solid var(--line) }
"""


def render(comparison: Comparison, recordings: Sequence[Recording]) -> str:
    """The page.  ``recordings`` are those that were compared; all text in them is escaped here."""
    return "".join(_page(comparison, recordings))


def _page(comparison: Comparison, recordings: Sequence[Recording]) -> Iterator[str]:
    from plotly.offline import get_plotlyjs

    title = f"{safe(comparison.app)}: {len(comparison.pairs)} against {safe(comparison.base.spec)}"
    yield '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width">'
    yield f"<title>{title}</title><style>{_STYLE}</style></head><body>\n"
    yield f"<h1>{title}</h1>\n<p>Counted are executed instructions, not time. A string instruction counts once; the "
    yield "bytes that it moves or sets are beside it.</p>\n"
    yield from _facts(comparison)
    for pair in comparison.pairs:
        yield from _pair(pair)
    yield "<h2>Where the instructions are</h2>\n<p>Instructions per op: phase, operation, layer, function. A click on "
    yield "a box enlarges it, a click on the top row goes back. Phases stand side by side only to choose from: their "
    yield "ops are different things.</p>\n"
    yield f"<script>{get_plotlyjs()}</script>\n"
    yield from _icicles(comparison, recordings)
    yield "</body></html>\n"


def _facts(comparison: Comparison) -> Iterator[str]:
    yield (f"<p>QEMU {safe(comparison.qemu)}, machine <code>{safe(comparison.machine)}</code>, CPU line "
           f"<code>{safe(comparison.cpu)}</code>, {safe(comparison.mode)} mode.</p>\n")  # fmt: skip
    rows = [(safe(guest.spec), safe(guest.kernel), safe(", ".join(map(str, guest.seeds))), str(guest.runs),
             "<br>".join(f"{safe(key)}: {safe(value)}" for key, value in sorted(guest.reports.items())))
            for guest in comparison.guests]  # fmt: skip
    yield _table(("guest", "kernel", "seeds", "different runs", "says of itself"), rows)
    yield from (f'<p class="note">{safe(note)}</p>\n' for note in comparison.notes)


def _pair(pair: Pair) -> Iterator[str]:
    yield f"<h2>{safe(pair.other.spec)} against {safe(pair.base.spec)}</h2>\n"
    for key, base, other in pair.differing_reports:
        yield f'<p class="note">{safe(key)} differs: {safe(base)} &rarr; {safe(other)}</p>\n'
    yield f"<p><b>{safe(pair.other.spec)} {safe(pair.headline)}.</b> "
    yield f"{len(pair.differing_phases)} of {len(pair.phases)} phases differ beyond the seed spread.</p>\n<ol>\n"
    yield from (f"<li>{safe(finding.sentence)} <span class=quiet>({_share(finding)})</span></li>\n"
                for finding in pair.in_order)  # fmt: skip
    yield "</ol>\n"
    rows = []
    for phase in pair.phases:
        instructions, moved = phase.instructions, phase.string_bytes
        verdict = (instructions if phase.leads == "instructions" else moved).verdict
        rows.append((safe(phase.name), number(instructions.base.mean), number(instructions.other.mean),
                     _ratio(instructions), number(moved.base.mean), number(moved.other.mean), _ratio(moved),
                     verdict))  # fmt: skip
    yield _table(("phase", "instr/op, base", "other", "ratio", "string bytes/op, base", "other", "ratio", "seeds say"),
                 rows, numeric=range(1, 7))  # fmt: skip
    for phase in pair.phases:
        if phase.differs:
            yield from _phase(phase)
    if pair.not_compared:
        yield "<h3>Not compared</h3>\n"
        yield _table(("phase", "why"), [(safe(name), safe(reason)) for name, reason in pair.not_compared])


def _phase(phase: PhaseComparison) -> Iterator[str]:
    yield f"<details open><summary><b>{safe(phase.name)}</b> {safe(phase.headline)}</summary>\n"
    if phase.question:
        yield f"<p class=quiet>{safe(phase.question)} ({phase.ops:,} ops; an op is {safe(phase.op)})</p>\n"
    if max(phase.left_out) >= 0.001:
        yield (f"<p class=quiet>Left out as the emulator's: {phase.left_out[0]:.1%} and {phase.left_out[1]:.1%} of the "
               "instructions.</p>\n")  # fmt: skip
    rows = []
    for finding in phase.in_order:
        unit = "instr" if finding.cost == "instructions" else "bytes"
        names = [f"{safe(function.name)}&nbsp;{number(function.delta, sign=True)}" for function in finding.functions]
        if finding.more_functions:
            names.append(f"{finding.more_functions} more")
        direction = "more" if finding.change.delta > 0 else "less"
        delta = f"<span class={direction}>{number(finding.change.delta, sign=True)}&nbsp;{unit}</span>"
        structural = number(finding.structural, sign=True) if finding.structural else ""
        rows.append((safe(", ".join(finding.operations)), safe(finding.layer), delta, _share(finding),
                     number(finding.count, sign=True), number(finding.unit, sign=True), structural,
                     ", ".join(names)))  # fmt: skip
    yield _table(("operations", "layer", "delta/op", "share", "count", "unit cost", "one side only", "functions"), rows,
                 numeric=range(2, 7), code=7)  # fmt: skip
    yield "</details>\n"


def _icicles(comparison: Comparison, recordings: Sequence[Recording]) -> Iterator[str]:
    import plotly.graph_objects as go
    import plotly.io as pio

    most = min(icicle.NODES, ALL_NODES // max(1, len(comparison.guests)))
    for position, guest in enumerate(comparison.guests):
        mine = [recording for recording in recordings if recording.spec == guest.spec]
        ledger, names = _ledger(mine)
        if not names:
            continue
        tree = icicle.nodes(ledger, names, most)
        figure = go.Figure(go.Icicle(
            ids=[str(number) for number in range(len(tree.labels))],
            labels=[safe(label) for label in tree.labels],
            parents=["" if parent < 0 else str(parent) for parent in tree.parents],
            # Nine digits: parents are sums of unrounded values, and plotly drops a chart whose children exceed them.
            values=_rounded(tree),
            branchvalues="total",
            maxdepth=4,
            tiling={"orientation": "v", "flip": "y"},
            marker={"colors": [_colour(layer) for layer in tree.layers], "line": {"width": 0.5, "color": "#fff8"}},
            hovertemplate="%{label}<br>%{value:,.1f} instructions per op"
                          "<br>%{percentParent:.1%} of %{parent}<extra></extra>",
        ))  # fmt: skip
        figure.update_layout(
            template=None, margin={"l": 4, "r": 4, "t": 4, "b": 4}, uniformtext={"minsize": 10, "mode": "hide"},
            paper_bgcolor="rgba(0,0,0,0)",
        )  # fmt: skip
        yield f"<h3>{safe(guest.spec)}</h3>\n<div class=chart>"
        yield pio.to_html(figure, include_plotlyjs=False, full_html=False, div_id=f"icicle-{position}",
                          config={"displaylogo": False, "responsive": True}, validate=False)  # fmt: skip
        yield "</div>\n"


def _ledger(recordings: Sequence[Recording]) -> tuple[GuestLedger, dict[int, str]]:
    """The ledger of the phases that were ok in all recordings, and their names."""
    bad, names = set(), {}
    for recording in recordings:
        frame = recording.phases
        for number_, name, status, ops in zip(*(frame[key].tolist() for key in ("number", "name", "status", "ops")),
                                              strict=True):  # fmt: skip
            names[number_] = name
            if status != "ok" or ops <= 0:
                bad.add(number_)
    good = {number_: name for number_, name in names.items() if number_ not in bad}
    return of_guest(recordings, list(good)), good


def _rounded(tree: icicle.Nodes) -> list[float]:
    """Leaves with three decimals, and every parent the exact sum of its children in thousandths."""
    thousandths = [0] * len(tree.values)
    children = set(tree.parents)
    for node in range(len(tree.values) - 1, -1, -1):
        if node not in children:
            thousandths[node] = round(tree.values[node] * 1000)
        if tree.parents[node] >= 0:
            thousandths[tree.parents[node]] += thousandths[node]
    return [value / 1000 for value in thousandths]


def _colour(layer: str) -> str:
    return _HUES[LAYERS.index(layer)] if layer in LAYERS else _PLAIN


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[int] = (), code: int = -1) -> str:
    """A table of cells that are HTML already."""
    kinds = [" class=n" if position in numeric else " class=f" if position == code else ""
             for position in range(len(head))]  # fmt: skip
    top = "".join(f"<th{kind}>{name}</th>" for name, kind in zip(head, kinds, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{cell}</td>" for cell, kind in zip(row, kinds, strict=True)) + "</tr>\n"
        for row in rows
    )
    return f"<table><tr>{top}</tr>\n{body}</table>\n" if rows else ""


def _ratio(change: Change) -> str:
    return "-" if change.ratio is None else f"{change.ratio:.2f}"


def _share(finding: Finding) -> str:
    return f"{finding.share * 100:.0f} %" + (", within seed spread" if finding.within_spread else "")
