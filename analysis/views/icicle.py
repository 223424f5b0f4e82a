"""The nodes of an icicle chart: phase -> operation -> layer -> function, in instructions per op.

Kept apart from the page so that the arithmetic can be tested: what a node shows is the sum of what is below it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from analysis.ledger import GuestLedger

if TYPE_CHECKING:
    import pandas as pd

NODES: Final = 2000
"""Nodes per guest; a browser shows 5,000 well, and each costs about 80 bytes of the page."""
LEVELS: Final = ("phase", "operation", "layer", "function")


@dataclass(frozen=True)
class Nodes:
    """Parallel lists; node 0 is the guest, and a parent stands before its children."""

    labels: list[str]
    parents: list[int]  # -1 for the root
    values: list[float]
    layers: list[str]  # "" above layers
    levels: list[int]  # 0 the guest, 1 phase, 2 operation, 3 layer, 4 function


def nodes(ledger: GuestLedger, names: dict[int, str], most: int = NODES) -> Nodes:
    """The tree of one guest, means over its runs.

    What is a small share of its phase is folded, level by level, into ``other (n functions)`` beside its larger
    siblings, so that all sums hold.  The share is the smallest that leaves at most ``most`` nodes; phases are never
    folded.  Shares are of the phase because phases differ in cost per op by orders of magnitude.
    """
    frame = ledger.costs["instructions"].mean(axis=1).rename("value").reset_index()
    frame = frame[frame["value"] > 0].reset_index(drop=True)
    levels = [frame.groupby(list(LEVELS[: depth + 1]), sort=True)["value"].sum().reset_index() for depth in range(4)]
    whole = dict(zip(levels[0]["phase"].tolist(), levels[0]["value"].tolist(), strict=True))
    for level in levels:
        level["share"] = level["value"] / level["phase"].map(whole)

    # Fewest nodes at the highest threshold: halve the sorted candidates until the smallest that fits is found.
    candidates = np.unique(np.concatenate([level["share"].to_numpy() for level in levels[1:]]))
    low, high = 0, len(candidates)
    while low < high:
        middle = (low + high) // 2
        if _count(levels, candidates[middle]) <= most:
            high = middle
        else:
            low = middle + 1
    threshold = candidates[low] if low < len(candidates) else np.inf

    tree = Nodes([ledger.spec], [-1], [float(frame["value"].sum())], [""], [0])
    ids: dict[tuple[object, ...], int] = {(): 0}
    for depth, level in enumerate(levels, start=1):
        keys = list(LEVELS[:depth])
        kept = level if depth == 1 else level[level["share"] >= threshold]
        for path, value in zip(kept[keys].itertuples(index=False, name=None), kept["value"].tolist(), strict=True):
            ids[path] = len(tree.labels)
            label = names.get(path[0], str(path[0])) if depth == 1 else str(path[-1])
            _add(tree, label, ids[path[:-1]], value, str(path[2]) if depth >= 3 else "", depth)
        if depth == 1:
            continue
        small = level[level["share"] < threshold]
        folded = small.groupby(keys[:-1], sort=True).agg(
            value=("value", "sum"), size=("value", "size"), first=(keys[-1], "first")
        )
        for where, value, size, first in zip(folded.index.tolist(), folded["value"].tolist(), folded["size"].tolist(),
                                             folded["first"].tolist(), strict=True):  # fmt: skip
            path = where if isinstance(where, tuple) else (where,)
            if path in ids:  # otherwise its parent is folded, and this is part of that
                label = str(first) if size == 1 else f"other ({size} {LEVELS[depth - 1]}s)"
                layer = str(path[2]) if depth == 4 else str(first) if depth == 3 and size == 1 else ""
                _add(tree, label, ids[path], value, layer, depth)
    return tree


def _add(tree: Nodes, label: str, parent: int, value: float, layer: str, level: int) -> None:
    tree.labels.append(label)
    tree.parents.append(parent)
    tree.values.append(float(value))
    tree.layers.append(layer)
    tree.levels.append(level)


def _count(levels: list[pd.DataFrame], threshold: float) -> int:
    """How many nodes a threshold leaves: what is kept, and a fold beside it where something is not."""
    count = 1 + len(levels[0])
    for depth in range(1, 4):
        level, parents = levels[depth], list(LEVELS[:depth])
        kept = level["share"] >= threshold
        above = level.groupby(parents, sort=False)["value"].transform("sum") / (level["value"] / level["share"])
        visible = (above >= threshold * (1 - 1e-12)) | (depth == 1)
        count += int(kept.sum()) + int((~kept & visible).groupby([level[name] for name in parents]).any().sum())
    return count
