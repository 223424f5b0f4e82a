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

    The largest functions have a node each; the others of a (phase, operation, layer) are one node, ``other
    (n functions)``, so that all sums hold.  Phases, operations and layers are never folded.
    """
    mean = ledger.costs["instructions"].mean(axis=1)
    frame = mean.rename("value").reset_index()
    frame = frame[frame["value"] > 0]
    above = sum(len(frame[list(LEVELS[: depth + 1])].drop_duplicates()) for depth in range(3))
    frame = _folded(frame, max(0, most - 1 - above))

    tree = Nodes([ledger.spec], [-1], [float(frame["value"].sum())], [""], [0])
    ids: dict[tuple[object, ...], int] = {(): 0}
    for depth in range(1, len(LEVELS) + 1):
        keys = list(LEVELS[:depth])
        level = frame.groupby(keys, sort=True)["value"].sum() if depth < len(LEVELS) else frame.set_index(keys)["value"]
        for key, value in zip(level.index.tolist(), level.tolist(), strict=True):
            path = key if isinstance(key, tuple) else (key,)
            ids[path] = len(tree.labels)
            tree.labels.append(names.get(path[0], str(path[0])) if depth == 1 else str(path[-1]))
            tree.parents.append(ids[path[:-1]])
            tree.values.append(float(value))
            tree.layers.append(str(path[2]) if depth >= 3 else "")
            tree.levels.append(depth)
    return tree


def _folded(frame: pd.DataFrame, room: int) -> pd.DataFrame:
    """The ``room`` functions that matter most keep their names; a fold of one keeps its name as well.

    What matters is the share of the phase, as phases differ in cost per op by orders of magnitude.
    """
    import pandas as pd

    cell = list(LEVELS[:3])
    share = frame["value"] / frame.groupby("phase")["value"].transform("sum")
    # Every cell may need a node for what is folded.
    keep = np.zeros(len(frame), dtype=bool)
    keep[np.argsort(-share.to_numpy(), kind="stable")[: max(0, room - len(frame[cell].drop_duplicates()))]] = True
    rest = frame[~keep].groupby(cell)["value"].agg(["sum", "size"])
    first = frame[~keep].groupby(cell)["function"].first()
    folded = pd.DataFrame({
        "function": np.where(rest["size"] == 1, first, "other (" + rest["size"].astype(str) + " functions)"),
        "value": rest["sum"],
    }, index=rest.index).reset_index()  # fmt: skip
    return pd.concat([frame[keep], folded], ignore_index=True)
