"""The tree of call stacks of a recording."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from probes.names import readable
from probes.recording import Recording
from profiler.errors import RecordingInvalid

_DEEPEST: Final = 4096
"""The probe's stacks have 512 frames at most."""


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

    def functions(self, frame: int) -> list[int]:
        """The functions of a stack, the innermost first, as positions in ``names``; none of no frame."""
        found: list[int] = []
        while 0 <= frame < len(self) and len(found) < _DEEPEST:
            found.append(int(self.function[frame]))
            frame = int(self.caller[frame])
        return found

    def path(self, frame: int) -> str:
        """The functions of a stack, the innermost first; "" for none."""
        return " < ".join(self.names[function] for function in self.functions(frame))

    def own(self, frames: npt.NDArray[Any], values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """What each frame has itself, of some rows that have a frame and a value each; exact below 2^53."""
        there = (frames >= 0) & (frames < len(self))
        sums = np.bincount(frames[there], weights=values[there], minlength=len(self))
        return np.rint(sums).astype(np.int64)

    def inclusive(self, own: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """What each frame has with all that it calls, given what each has itself.

        Raises RecordingInvalid for stacks that no probe makes.
        """
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
            if depth[there].max() >= _DEEPEST - 1:
                raise RecordingInvalid(f"there are stacks of more than {_DEEPEST:,} frames")
            depth[there] += 1
            above[there] = self.caller[above[there]]
        order = np.argsort(depth, kind="stable")
        return np.split(order, np.flatnonzero(np.diff(depth[order])) + 1)
