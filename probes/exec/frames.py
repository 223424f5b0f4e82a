"""What the probe's cells stand for: functions, or, of a run with call stacks, nodes of the tree of stacks.

The probe's nodes are pieces of functions; frames, those of ``probes.events.FRAMES``, are functions: nodes of one caller
and one function are one frame.  Everything here is done a level of the tree at a time.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from probes.events import FRAMES
from probes.exec import files
from probes.exec.configure import Hooks
from probes.exec.files import AGAIN
from profiler.errors import ProbeLoss

Ints = npt.NDArray[np.int64]
Texts = npt.NDArray[np.object_]

NO_STACK: Final = 0xFFFFFFFF
LOST: Final = "[stack lost]"
"""The caller of functions for whose stacks the probe found no room."""

# SEEN_*, plugin/state.h: function -1 - n.
_PSEUDO: Final = (
    ("[unknown]", "kernel", "unattributed"),
    ("", "", ""),  # Hooks.outside
    ("[idle]", "kernel", "idle"),
    ("[device-wait]", "kernel", "device-wait"),
)
_NODE: Final = np.dtype([("parent", "<u4"), ("function", "<i4")])
_LOST_NODE: Final = 1  # plugin/stacks.c
_NODES: Final = 4 << 20
_DEPTH: Final = 512  # NODE_DEPTH, plugin/stacks.h


@dataclass(frozen=True)
class Functions:
    """Name, layer and space of each function, by the probe's number + ``first``."""

    names: Texts
    layers: Texts
    spaces: Texts
    first: int = len(_PSEUDO)

    @staticmethod
    def of(hooks: Hooks) -> Functions:
        """Those of a configuration, and what is no function."""
        pseudo = (_PSEUDO[0], hooks.outside, *_PSEUDO[2:])
        names, classes, layers = zip(*pseudo[::-1], *hooks.functions, strict=True)
        return Functions(
            np.array(names, dtype=object),
            np.array([str(layer) for layer in layers], dtype=object),
            np.array(["kernel" if of == "kernel" else "user" for of in classes], dtype=object),
        )

    def rows(self, numbers: npt.NDArray[Any]) -> Ints:
        """The rows of functions by their numbers; ValueError if there is one that there is not."""
        rows = numbers.astype(np.int64) + self.first
        if len(rows) and (rows.min() < 0 or rows.max() >= len(self.names)):
            raise ValueError("no such function")
        return rows


@dataclass(frozen=True)
class Tree:
    """The frames of a run with call stacks."""

    functions: Functions
    """Of each frame: by its number, ``first`` is 0."""
    callers: Ints
    _frame_of: Ints  # of each of the probe's nodes

    def frames_of(self, nodes: npt.NDArray[Any]) -> Ints:
        """The frames of the probe's nodes; ValueError if there is one that there is not."""
        if len(nodes) and (int(nodes.max()) >= len(self._frame_of) or int(nodes.min()) < 0):
            raise ValueError("no such stack")
        frames = self._frame_of[nodes.astype(np.int64)]
        if len(frames) and frames.min() < 0:
            raise ValueError("a stack without a function")
        return frames

    def of_events(self, nodes: npt.NDArray[Any]) -> Ints:
        """The same of events, some of which have none: -1."""
        frames = np.full(len(nodes), -1, dtype=np.int64)
        known = nodes != NO_STACK
        frames[known] = self.frames_of(nodes[known])
        return frames

    def table(self) -> pa.Table:
        """The table of frames."""
        f = self.functions
        columns = [np.arange(len(f.names)).astype(np.int32), self.callers.astype(np.int32), f.names, f.layers, f.spaces]
        return pa.Table.from_arrays(
            [pa.array(column, type=field.type) for column, field in zip(columns, FRAMES, strict=True)], schema=FRAMES
        )


def read(path: Path, functions: Functions, shared: Collection[str], used: npt.NDArray[Any]) -> Tree:
    """Read those of the probe's nodes that are ``used``, and their callers.

    ``functions`` are theirs; those of the kernel's that are named in ``shared`` take the layer of their caller.
    Raises ``ProbeLoss`` if there is no such file, or if it is no tree.
    """
    raw = files.records(path, _NODE, _NODES)
    parents = raw["parent"].astype(np.int64)
    if len(raw) <= _LOST_NODE or parents[0] or bool((parents[1:] >= np.arange(1, len(raw))).any()):
        raise ProbeLoss(f"{path.name} is no tree", hint=AGAIN)
    try:
        rows = functions.rows(raw["function"])
    except ValueError as error:
        raise ProbeLoss(f"{path.name} names what is not there", hint=AGAIN) from error
    if len(used) and not 0 < int(used.min()) <= int(used.max()) < len(raw):
        raise ProbeLoss(f"{path.name} lacks a stack", hint=AGAIN)
    return _frames(parents, rows, functions, shared, used.astype(np.int64))


def _frames(parents: Ints, rows: Ints, functions: Functions, shared: Collection[str], used: Ints) -> Tree:
    names, layers, spaces = (column[rows].copy() for column in (functions.names, functions.layers, functions.spaces))
    names[_LOST_NODE] = LOST
    keep = np.zeros(len(parents), dtype=bool)
    for _ in range(_DEPTH + 1):  # a level of callers at a time, and the root
        used = used[~keep[used]]
        keep[used] = True
        used = np.unique(parents[used])
    if len(used) and not keep[used].all():
        raise ProbeLoss("stacks.bin has stacks that are too deep", hint=AGAIN)
    what, _ = pd.factorize(pd.MultiIndex.from_arrays([names, layers, spaces]))
    leaves = np.isin(names, list(shared)) & (spaces == "kernel")
    frame_of = np.full(len(parents), -1, dtype=np.int64)
    firsts: list[Ints] = []  # of each frame the first node, in order of frames
    callers: list[Ints] = []
    count, depth = 0, 0
    level = np.flatnonzero((parents == 0) & keep)
    level = level[level > 0]  # the root itself is no frame
    order = np.argsort(parents, kind="stable")
    begins = np.searchsorted(parents[order], np.arange(len(parents) + 1))
    while len(level):
        up = frame_of[parents[level]]
        key = (up + 1) * (int(what.max()) + 1) + what[level]
        _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
        frame_of[level] = count + inverse
        firsts.append(level[first])
        callers.append(up[first])
        if depth:
            mine = level[first]
            above = firsts[-2][up[first] - (count - len(firsts[-2]))]  # of the level before
            takes = leaves[mine] & (spaces[above] == "kernel")
            layers[mine[takes]] = layers[above[takes]]
        count, depth = count + len(first), depth + 1
        sizes = begins[level + 1] - begins[level]
        starts = np.repeat(begins[level] - np.concatenate([[0], np.cumsum(sizes)[:-1]]), sizes)
        level = order[starts + np.arange(int(sizes.sum()))]
        level = level[keep[level]]
    node = np.concatenate(firsts) if firsts else np.zeros(0, dtype=np.int64)
    return Tree(
        Functions(names[node], layers[node], spaces[node], 0),
        np.concatenate([np.zeros(0, dtype=np.int64), *callers]),
        frame_of,
    )
