"""The charts of the page: an icicle per guest, all at the same place in the tree, drawn by ``report.js``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from analysis.comparison import Comparison
from analysis.ledger import COSTS, GuestLedger, of_guest
from analysis.views import icicle
from analysis.views.escape import clean
from analysis.views.escape import for_html as safe
from probes.events import LAYERS
from probes.recording import Recording

ALL_NODES: Final = {"instructions": 10_000, "rep_bytes": 3000}
"""Nodes of all guests' icicles together; with plotly's 4.8 MB this keeps a page below 6 MB."""
LONGEST: Final = 160
"""Characters of a name in a chart."""

_BANDS: Final = ((64, 66), (58, 80), (36, 58))  # saturation and lightness: nine hues in each, none twice
_HUES: Final = tuple(f"hsl({position * 40 % 360 + 13 * (position // 9)},{_BANDS[position // 9][0]}%,"
                     f"{_BANDS[position // 9][1]}%)" for position in range(len(LAYERS)))  # fmt: skip
_PLAIN: Final = "#c3c7ce"
COLOURS: Final = [*_HUES, _PLAIN]
"""Of the layers in their order, and of what is in none."""


def render(comparison: Comparison, recordings: Sequence[Recording]) -> Iterator[str]:
    """Controls, legend, a place per guest, and the data; everything but plotly and ``report.js``."""
    guests: list[tuple[str, dict[str, dict[str, list[Any]]]]] = []
    phases: dict[int, str] = {}
    labels: dict[str, int] = {}  # the same names are in many places: each is on the page once
    for guest in comparison.guests:
        mine = [recording for recording in recordings if recording.spec == guest.spec]
        ledger, names = _ledger(mine)
        if names:
            phases.update(names)
            guests.append((guest.spec, _trees(mine, ledger, names, len(comparison.guests), labels)))
    yield '<div class="controls"><label>Phase <select id="phase"><option value="">all, side by side</option>'
    yield from (f'<option value="{phase}">{safe(phases[phase])}</option>' for phase in sorted(phases))
    yield '</select></label><label>Counted <select id="cost"><option value="instructions">instructions</option>'
    yield '<option value="rep_bytes">string bytes</option></select></label></div>\n'
    used = {layer for _, trees in guests for tree in trees.values() for layer in tree["layers"]}
    yield '<ul class="legend" aria-label="Colours of the layers">'
    for position in sorted(used - {len(LAYERS)}):
        yield f'<li><span style="background:{_HUES[position]}"></span>{LAYERS[position]}</li>'
    yield "</ul>\n<noscript><p class=note>The charts need JavaScript; everything above does not.</p></noscript>\n"
    for position, (spec, _) in enumerate(guests):
        yield f'<h3>{safe(spec)}</h3>\n<div class="wide" role="group" aria-label="Icicle of {safe(spec)}">'
        yield f'<div class="chart" id="icicle-{position}"></div>'
        yield "<p class=quiet hidden>Nothing was counted here.</p></div>\n"
    data = {"height": 24 * max(24, len(phases)), "colours": COLOURS,
            "names": list(labels), "guests": [trees for _, trees in guests]}  # fmt: skip
    # In a script element only "<" can end the text; plotly reads some HTML in labels, so those are escaped already.
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    yield f'<script type="application/json" id="icicles">{text}</script>\n'


def _trees(recordings: Sequence[Recording], ledger: GuestLedger, names: dict[int, str], guests: int,
           labels: dict[str, int]) -> dict[str, dict[str, list[Any]]]:  # fmt: skip
    """Per cost, the lists of ``icicle.Nodes`` as ``report.js`` wants them: labels and layers as positions."""
    entries = icicle.function_calls(recordings, ledger)
    trees: dict[str, dict[str, list[Any]]] = {}
    for cost in COSTS:
        tree = icicle.nodes(ledger, names, min(icicle.NODES, ALL_NODES[cost] // guests), cost, entries)
        trees[cost] = {
            "labels": [labels.setdefault(safe(clean(label, LONGEST)), len(labels)) for label in tree.labels],
            "parents": tree.parents,
            "values": [round(value, 3) for value in tree.values],
            "layers": [LAYERS.index(layer) if layer in LAYERS else len(LAYERS) for layer in tree.layers],
            "calls": [None if calls is None else float(f"{calls:.4g}") for calls in tree.calls],
            "phases": tree.phases,
        }
    return trees


def _ledger(recordings: Sequence[Recording]) -> tuple[GuestLedger, dict[int, str]]:
    """The ledger of the phases that were ok in all recordings, and their names."""
    bad, names = set(), {}
    for recording in recordings:
        frame = recording.phases
        for number, name, status, ops in zip(*(frame[key].tolist() for key in ("number", "name", "status", "ops")),
                                             strict=True):  # fmt: skip
            names[number] = name
            if status != "ok" or ops <= 0:
                bad.add(number)
    good = {number: name for number, name in names.items() if number not in bad}
    return of_guest(recordings, list(good)), good
