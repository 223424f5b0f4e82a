"""Call stacks as lines of text, for tools that draw flame graphs: ``main;read;entry_SYSCALL_64 1234``."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from analysis.columns import read
from analysis.trace.stacks import Stacks
from analysis.views.escape import clean
from probes.recording import Recording


def folded(recording: Recording, phases: Collection[int], operation: str | None = None) -> Iterator[str]:
    """A line per stack, the outermost function first, with the instructions executed in the innermost; none is 0.

    Of some phases by number, and of one operation if it is given.  Semicolons and spaces in names become ``:`` and
    ``_``, as they have a meaning there.
    """
    import numpy as np

    tree = Stacks(recording)
    rows = read([recording], "stacks", ["phase", "operation", "stack", "instructions"])
    keep = np.isin(rows.values["phase"], list(phases))
    if operation is not None:
        keep &= rows.coded("operation", [operation])
    frames = rows.values["stack"]
    keep &= (frames >= 0) & (frames < len(tree))
    own = np.zeros(len(tree), dtype=np.int64)
    np.add.at(own, frames[keep], rows.values["instructions"][keep])
    names = [clean(name).replace(";", ":").replace(" ", "_") for name in tree.names]
    function, caller = tree.function.tolist(), tree.caller.tolist()
    for frame in np.flatnonzero(own > 0).tolist():
        path, at = [], frame
        while at >= 0:
            path.append(names[function[at]])
            at = caller[at]
        yield f"{';'.join(path[::-1])} {own[frame]}\n"
