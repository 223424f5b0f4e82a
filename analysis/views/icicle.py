"""The nodes of an icicle chart: phase -> operation -> layer -> function, in one cost per op.

Kept apart from the page so that the arithmetic can be tested: what a node shows is the sum of what is below it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from analysis.ledger import DEFERRED, KEYS, Cost, GuestLedger
from probes.recording import Recording

if TYPE_CHECKING:
    import pandas as pd

NODES: Final = 4000
"""Nodes per guest; a browser shows 5,000 well, and each costs about 30 bytes of the page."""
LEVELS: Final = ("phase", "operation", "layer", "function")


@dataclass(frozen=True)
class Nodes:
    """Parallel lists; node 0 is the guest.  A parent stands before its children, and the largest of these first."""

    labels: list[str]
    parents: list[int]  # -1 for the root
    values: list[float]  # instructions or string bytes, per op
    layers: list[str]  # "" above layers
    calls: list[float | None]  # entries per op of an operation or a function; None where there is no such count
    phases: list[int]  # the number of the phase; -1 for the root


def nodes(ledger: GuestLedger, names: dict[int, str], most: int = NODES, cost: Cost = "instructions",
          entries: pd.Series[float] | None = None) -> Nodes:  # fmt: skip
    """The tree of one guest in one cost, means over its runs.  ``entries`` is that of ``function_calls``, if wanted.

    What is a small share of its phase is folded, level by level, into ``other (n functions)`` beside its larger
    siblings, so that all sums hold.  The share is the smallest that leaves at most ``most`` nodes; phases are never
    folded.  Shares are of the phase because phases differ in cost per op by orders of magnitude.
    """
    frame = ledger.costs[cost].mean(axis=1).rename("value").reset_index()
    frame = frame[frame["value"] > 0].reset_index(drop=True)
    levels = [frame.groupby(list(LEVELS[: depth + 1]), sort=True)["value"].sum().reset_index() for depth in range(4)]
    whole = dict(zip(levels[0]["phase"].tolist(), levels[0]["value"].tolist(), strict=True))
    calls: dict[object, float] = {}
    for counts in (ledger.calls.mean(axis=1), entries):
        calls.update({} if counts is None else zip(counts.index.tolist(), counts.tolist(), strict=True))
    for level in levels:
        level["share"] = level["value"] / level["phase"].map(whole)
    levels[1:] = [level.sort_values("value", ascending=False, kind="stable") for level in levels[1:]]

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

    tree = Nodes([ledger.spec], [-1], [float(frame["value"].sum())], [""], [None], [-1])
    ids: dict[tuple[object, ...], int] = {(): 0}
    for depth, level in enumerate(levels, start=1):
        keys = list(LEVELS[:depth])
        kept = level if depth == 1 else level[level["share"] >= threshold]
        for path, value in zip(kept[keys].itertuples(index=False, name=None), kept["value"].tolist(), strict=True):
            ids[path] = len(tree.labels)
            label = names.get(path[0], str(path[0])) if depth == 1 else str(path[-1])
            layer = str(path[2]) if depth >= 3 else ""
            _add(tree, label, ids[path[:-1]], value, layer, calls.get(path), int(path[0]))
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
                entered = calls.get((*path, first)) if size == 1 else None
                _add(tree, label, ids[path], value, layer, entered, int(path[0]))
    return tree


def _add(tree: Nodes, label: str, parent: int, value: float, layer: str, calls: float | None, phase: int) -> None:
    tree.labels.append(label)
    tree.parents.append(parent)
    tree.values.append(float(value))
    tree.layers.append(layer)
    tree.calls.append(None if calls is None else float(calls))
    tree.phases.append(phase)


def function_calls(recordings: Sequence[Recording], ledger: GuestLedger) -> pd.Series[float]:
    """Entries of each function per op, (phase, operation, layer, function) as in ``ledger.costs``, means over its runs.

    ``recordings`` are those that the ledger was made of.
    """
    import pandas as pd

    columns = []
    for recording in recordings:
        if recording.seed in ledger.runs:
            frame = recording.frame("ledger", [*KEYS, "calls"])
            frame = frame[frame["phase"].isin(list(ledger.ops))]
            for name in KEYS[1:]:
                frame[name] = frame[name].astype(str)
            frame["operation"] = frame["operation"].str.removeprefix(DEFERRED)
            columns.append(frame.groupby(KEYS, sort=False)["calls"].sum())
    mean = pd.concat(columns, axis=1).fillna(0).mean(axis=1)
    return mean / mean.index.get_level_values("phase").map(ledger.ops).to_numpy(dtype=np.float64)


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
