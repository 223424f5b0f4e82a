"""The flame graphs of the page: counted call stacks of each guest and phase, drawn by ``flames.js``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from analysis.columns import phases as rows_of_phases
from analysis.columns import read
from analysis.trace.stacks import Stacks
from analysis.views.charts import COLOURS, LONGEST
from analysis.views.escape import clean
from analysis.views.escape import for_html as safe
from probes.events import LAYERS
from probes.recording import Recording

ALL_FRAMES: Final = 15_000
"""Frames of all guests and phases together; each costs about 20 bytes of the page."""


@dataclass(frozen=True)
class Flame:
    """Parallel lists; frame 0 is the phase.  A caller stands before what it calls."""

    labels: list[str]
    callers: list[int]  # -1 for the phase
    values: list[int]  # instructions, with all that the function calls
    layers: list[str]


def flame(recording: Recording, phase: int, most: int) -> Flame | None:
    """The largest frames, at most ``most``, of one phase of a recording; None if it has no stacks of it."""
    tree = Stacks(recording)
    rows = read([recording], "stacks", ["phase", "stack", "instructions"])
    rows = rows.where(rows.values["phase"] == phase)
    own = tree.own(rows.values["stack"], rows.values["instructions"])
    whole = int(own.sum())
    if not whole:
        return None
    total: npt.NDArray[Any] = tree.inclusive(own)
    # A caller has at least what it calls, and a smaller number: the largest are a tree.
    order = np.lexsort((np.arange(len(tree)), -total))[:most]
    kept = np.sort(order[total[order] > 0])
    number = np.full(len(tree) + 1, 0)
    number[kept] = np.arange(1, len(kept) + 1)
    layers = recording.table("frames", ["layer"])["layer"].to_pylist()
    return Flame(
        ["", *(tree.names[name] for name in tree.function[kept].tolist())],
        [-1, *number[tree.caller[kept]].tolist()],
        [whole, *total[kept].tolist()],
        ["", *(str(layers[frame]) for frame in kept.tolist())],
    )


def render(recordings: Sequence[Recording]) -> Iterator[str]:
    """The section: a choice of phases, a place per guest, the data.  Nothing where no recording has stacks."""
    firsts: dict[str, Recording] = {}
    for one in sorted(recordings, key=lambda one: one.seed):
        if one.manifest["probe"].get("stacks"):
            firsts.setdefault(one.spec, one)
    specs = [spec for spec in dict.fromkeys(one.spec for one in recordings) if spec in firsts]
    phases: dict[str, dict[str, tuple[int, int]]] = {}
    for spec in specs:
        for number, name, status, ops in rows_of_phases(firsts[spec], ("number", "name", "status", "ops")):
            if status == "ok" and ops > 0:
                phases.setdefault(name, {})[spec] = (number, ops)
    if not phases:
        return
    labels: dict[str, int] = {}
    most = max(50, ALL_FRAMES // sum(map(len, phases.values())))
    drawn = {name: [_data(firsts[spec], *of[spec], most, labels) if spec in of else None for spec in specs]
             for name, of in phases.items()}  # fmt: skip
    yield '<section><h2 id="flames">Who called whom</h2>\n<p>Call stacks, counted: every call and return that a guest '
    yield "executed. A box is a function called by the one above it; its width is the instructions per op in it and in "
    yield "all that it calls, on the same scale for all guests. Interrupts are called by nobody. A click on a box "
    yield "opens it, a click on the top box goes back. Of each guest the first seed is shown.</p>\n"
    yield '<div class="controls"><label>Phase <select id="flame-phase">'
    yield from (f'<option value="{position}">{safe(name)}</option>' for position, name in enumerate(drawn))
    yield "</select></label></div>\n"
    for position, spec in enumerate(specs):
        yield f'<h3>{safe(spec)}</h3>\n<div class="wide" role="group" aria-label="Flame graph of {safe(spec)}">'
        yield f'<div class="flame" id="flame-{position}"></div>'
        yield "<p class=quiet hidden>Nothing was counted here.</p></div>\n"
    data = {"names": list(labels), "colours": COLOURS, "phases": list(drawn.values())}
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    yield f'<script type="application/json" id="flames-data">{text}</script>\n</section>\n'


def _data(recording: Recording, phase: int, ops: int, most: int, labels: dict[str, int]) -> dict[str, Any] | None:
    found = flame(recording, phase, most)
    if found is None:
        return None
    names = [safe(clean(label, LONGEST)) for label in found.labels]
    return {
        "ops": ops,
        "labels": [labels.setdefault(name, len(labels)) for name in names],
        "callers": found.callers,
        "values": found.values,
        "layers": [LAYERS.index(layer) if layer in LAYERS else len(LAYERS) for layer in found.layers],
    }
