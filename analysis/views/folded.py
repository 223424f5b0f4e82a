"""Call stacks as lines of text, for tools that draw flame graphs: ``main;read;entry_SYSCALL_64 1234``."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np

from analysis.columns import read
from analysis.trace.stacks import Stacks
from analysis.views.escape import clean
from probes.recording import Recording


def folded(recording: Recording, phases: Collection[int], operation: str | None = None) -> Iterator[str]:
    """A line per stack, the outermost function first, with the instructions executed in the innermost; none is 0.

    Of some phases by number, and of one operation if it is given.  Semicolons and spaces in names become ``:`` and
    ``_``, as they have a meaning there.
    """
    tree = Stacks(recording)
    rows = read([recording], "stacks", ["phase", "operation", "stack", "instructions"])
    rows = rows.where(np.isin(rows.values["phase"], list(phases)))
    if operation is not None:
        rows = rows.where(rows.coded("operation", [operation]))
    own = tree.own(rows.values["stack"], rows.values["instructions"])
    names = [clean(name).replace(";", ":").replace(" ", "_") for name in tree.names]
    for frame in np.flatnonzero(own > 0).tolist():
        yield f"{';'.join(names[function] for function in tree.functions(frame)[::-1])} {own[frame]}\n"
