"""The tree of call stacks of a recording."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from probes.names import readable
from probes.recording import Recording
from profiler.errors import RecordingInvalid

_DEEPEST = 4096


class Stacks:
    """FRAMES of a recording; there are none without ``--stacks``."""

    def __init__(self, recording: Recording) -> None:
        table = recording.table("frames", ["frame", "caller", "function"])
        self.caller: npt.NDArray[Any] = table["caller"].to_numpy()
        if not np.array_equal(table["frame"].to_numpy(), np.arange(len(self))) or (
            len(self) and ((self.caller >= np.arange(len(self))) | (self.caller < -1)).any()
        ):
            raise RecordingInvalid("the stacks of this recording are no tree")
        column = table["function"]
        column = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
        self.function: npt.NDArray[Any] = column.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        self.names: list[str] = [readable(name) for name in column.dictionary.to_pylist()]

    def __len__(self) -> int:
        return len(self.caller)

    def path(self, frame: int) -> str:
        """The functions of a stack, the innermost first; "" for none."""
        names: list[str] = []
        while 0 <= frame < len(self) and len(names) < _DEEPEST:
            names.append(self.names[int(self.function[frame])])
            frame = int(self.caller[frame])
        return " < ".join(names)

    def inclusive(self, own: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """What each frame has with all that it calls, given what each has itself."""
        total = own.astype(np.int64).copy()
        for deep in self._levels()[:0:-1]:
            np.add.at(total, self.caller[deep], total[deep])
        return total

    def recursive(self) -> npt.NDArray[np.bool_]:
        """The frames whose function is among their callers."""
        found = np.zeros(len(self), dtype=bool)
        frames, above = np.arange(len(self)), self.caller.copy()
        while len(frames):
            there = above >= 0
            frames, above = frames[there], above[there]
            found[frames[self.function[frames] == self.function[above]]] = True
            above = self.caller[above]
        return found

    def _levels(self) -> list[npt.NDArray[Any]]:
        """The frames by how many callers they have."""
        depth = np.zeros(len(self), dtype=np.int64)
        above = self.caller.copy()
        while (there := above >= 0).any():
            depth[there] += 1
            above[there] = self.caller[above[there]]
        order = np.argsort(depth, kind="stable")
        return np.split(order, np.flatnonzero(np.diff(depth[order])) + 1)
