"""The names of the locks that were waited for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from probes.events import LOCKS
from probes.objects import Objects

Known = Mapping[int, tuple[str, int]]
"""By address: what the kernel calls a lock, "" if nothing, and where a pointer of the app's to it is, 0 if nowhere."""


def known(values: Any) -> Known:
    """Read what the probe says of locks (plugin/locks.c); ValueError or TypeError if it cannot have said that."""
    found = {int(address): (bytes.fromhex(text).decode("ascii"), int(pointer)) for address, text, pointer in values}
    if not all(name.isprintable() and {at >> 64, pointer >> 64} == {0} for at, (name, pointer) in found.items()):
        raise ValueError("no locks")
    return found


def table(waited: npt.NDArray[np.int64], found: Known, objects: Objects) -> pa.Table:
    """Give the LOCKS of the addresses waited for: named by the symbol there, as the kernel calls it, or by a pointer.

    ``*mutex`` is what the variable ``mutex`` points at.
    """
    waited = waited[waited != 0]
    kept = [found.get(address, ("", 0)) for address in waited.astype(np.uint64).tolist()]
    here = objects.names(waited.astype(np.uint64))
    there = objects.names(np.array([pointer for _, pointer in kept], dtype=np.uint64))
    names = [
        symbol or name or (f"*({variable})" if "+" in variable else variable and f"*{variable}")
        for symbol, (name, _), variable in zip(here, kept, there, strict=True)
    ]
    named = [number for number, name in enumerate(names) if name]
    return pa.table([pa.array(waited[named]), pa.array([names[n] for n in named], pa.string())], schema=LOCKS)
