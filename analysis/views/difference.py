"""Two guests side by side: operation, layer, and in each layer the functions of either kernel; ``difference.js`` draws.

A box of an operation or a layer is as high as the larger side needs; the functions beside it are as high as each side
is, so that what is missing on a side is seen as a gap.  All that is computed here is sums of the aligned cells.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from analysis.align import Cells
from analysis.comparison import Comparison, Pair
from analysis.ledger import COSTS
from analysis.views.escape import clean
from analysis.views.escape import for_html as safe

SMALLEST: Final = 0.004
"""What is a smaller share of a place than this is folded: it would be below three pixels."""
MANY: Final = 4
"""Pairs that are shown in full; of more, each is folded a little further."""
LONGEST: Final = 120
"""Characters of a name."""


@dataclass(frozen=True)
class Layer:
    """What two guests execute for an operation in a layer; functions of either side, the largest first."""

    name: str
    base: float
    other: float
    base_functions: tuple[tuple[str, float], ...]
    other_functions: tuple[tuple[str, float], ...]

    @property
    def size(self) -> float:
        """The larger side."""
        return max(self.base, self.other)


@dataclass(frozen=True)
class Operation:
    """An operation with its layers, the largest first."""

    name: str
    layers: tuple[Layer, ...]

    @property
    def size(self) -> float:
        """The larger side of each layer."""
        return sum(layer.size for layer in self.layers)


Rows = list[tuple[str, str, str, float, float]]  # operation, layer, function, base, other


def operations(cells: Cells, weights: Mapping[int, float], smallest: float = SMALLEST) -> list[Operation]:
    """All that two guests execute in some phases, each phase times its weight; the largest operation first.

    What is a ``smallest`` share of it or less is folded into ``other (n ...)`` beside its larger siblings, so that the
    sums of both sides hold.
    """
    parts: dict[str, dict[str, Rows]] = {}
    for row in _functions(cells, weights):
        parts.setdefault(row[0], {}).setdefault(row[1], []).append(row)
    sizes = {name: {layer: _larger(rows) for layer, rows in layers.items()} for name, layers in parts.items()}
    least = smallest * sum(sum(layers.values()) for layers in sizes.values())
    small = [name for name, layers in sizes.items() if sum(layers.values()) < least]
    if len(small) > 1:
        rows = [row for name in small for rows in parts.pop(name).values() for row in rows]
        parts[f"other ({len(small)} operations)"] = {"several": rows}
    found = [_operation(name, layers, least) for name, layers in parts.items()]
    return sorted(found, key=lambda one: -one.size)


def _functions(cells: Cells, weights: Mapping[int, float]) -> Rows:
    """What is executed in some phases, a row per cell and function of each phase."""
    column = cells.columns
    weight = np.array([weights.get(int(phase), 0.0) for phase in column["phase"]])
    cell = cells.functions["cell"].to_numpy()
    inside = np.flatnonzero(weight[cell])
    cell = cell[inside]
    names = (column["operation"][cell], column["layer"][cell], cells.functions["function"].to_numpy()[inside])
    sides = (cells.functions[side].to_numpy()[inside] * weight[cell] for side in ("base", "other"))
    return list(zip(*(values.tolist() for values in (*names, *sides)), strict=True))


def _larger(rows: Rows) -> float:
    return max(sum(row[3] for row in rows), sum(row[4] for row in rows))


def _operation(name: str, layers: Mapping[str, Rows], least: float) -> Operation:
    parts = [_layer(layer, rows, least) for layer, rows in layers.items()]
    large = [one for one in parts if one.size >= least]
    tiny = [one for one in parts if 0 < one.size < least]
    if len(tiny) > 1:
        base, other = sum(one.base for one in tiny), sum(one.other for one in tiny)
        label = f"other ({len(tiny)} layers)"
        tiny = [Layer(label, base, other, _whole(label, base), _whole(label, other))]
    return Operation(name, tuple(sorted(large + tiny, key=lambda one: -one.size)))


def _layer(name: str, rows: Rows, least: float) -> Layer:
    sides = []
    for other in (False, True):
        sums: dict[str, float] = {}
        for row in rows:  # of several phases
            sums[row[2]] = sums.get(row[2], 0.0) + (row[4] if other else row[3])
        pairs = [pair for pair in sums.items() if pair[1] > 0]
        large = sorted((pair for pair in pairs if pair[1] >= least), key=lambda pair: -pair[1])
        tiny = [pair for pair in pairs if pair[1] < least]
        if len(tiny) > 1:
            tiny = [(f"other ({len(tiny)} functions)", sum(value for _, value in tiny))]
        sides.append((*large, *tiny))
    return Layer(name, sum(row[3] for row in rows), sum(row[4] for row in rows), *sides)


def _whole(label: str, value: float) -> tuple[tuple[str, float], ...]:
    return ((label, value),) if value > 0 else ()


# -- the page ---------------------------------------------------------------------------------------------------------


def figure(pair: Pair, position: int) -> Iterator[str]:
    """The place of a pair's figure, with its controls."""
    base, other = safe(pair.base.spec), safe(pair.other.spec)
    yield f'<h3 id="side-{position}">Side by side</h3>\n<p>From left to right: what the app asks for, the layer where '
    yield f"that is answered, and the functions of {base} and of {other} there. A box is as high as the larger side; "
    yield f"<span class=more>orange</span> is where {other} executes more, <span class=less>blue</span> where {base} "
    yield "does. An operation opens by a click on it.</p>\n"
    yield f'<div class="controls" data-side="{position}"><label>Phase <select class="scope"><option value="-1">'
    yield "all phases, each times its ops</option>"
    yield from (f'<option value="{phase.number}">{safe(phase.name)}</option>' for phase in pair.phases)
    yield '</select></label><label>Counted <select class="counted"><option value="instructions">instructions</option>'
    yield '<option value="rep_bytes">string bytes</option></select></label></div>\n'
    yield f'<div class="wide" role="group" aria-label="{other} beside {base}"><div class="difference" '
    yield f'id="difference-{position}"></div></div>\n'
    yield "<noscript><p class=note>This figure needs JavaScript; the tables below do not.</p></noscript>\n"


def data(comparison: Comparison) -> Iterator[str]:
    """The figures' data as a script element that is no code; names are text, and ``difference.js`` keeps them so."""
    names: dict[str, int] = {}

    def name(text: str) -> int:
        return names.setdefault(clean(text, LONGEST), len(names))

    def functions(pairs: tuple[tuple[str, float], ...]) -> list[list[float]]:
        return [[name(function), _short(value)] for function, value in pairs]

    smallest = SMALLEST * max(1.0, len(comparison.pairs) / MANY)  # so that a page keeps below 6 MB
    pairs = []
    for pair in comparison.pairs:
        ops = {phase.number: float(phase.ops) for phase in pair.phases}
        scopes = {-1: ops, **{number: {number: 1.0} for number in ops}}
        pairs.append({
            "base": clean(pair.base.spec), "other": clean(pair.other.spec),
            "scopes": {cost: {str(scope): [
                [name(operation.name), [
                    [name(layer.name), _short(layer.base), _short(layer.other), functions(layer.base_functions),
                     functions(layer.other_functions)] for layer in operation.layers
                ]] for operation in operations(pair.cells[cost], weights, smallest)
            ] for scope, weights in scopes.items()} for cost in COSTS},
        })  # fmt: skip
    value: dict[str, Any] = {"names": list(names), "pairs": pairs}
    text = json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")
    yield f'<script type="application/json" id="differences">{text}</script>\n'


def _short(value: float) -> float:
    return float(f"{value:.5g}")
