"""Columns that are put together window by window."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


class Rows:
    """Rows of some columns of whole numbers."""

    def __init__(self) -> None:
        self._parts: dict[str, list[npt.NDArray[Any]]] = {}

    def add(self, **columns: npt.NDArray[Any]) -> None:
        """Add some rows: an array per column, all of one length."""
        for name, values in columns.items():
            self._parts.setdefault(name, []).append(values)

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """All rows; no column at all if nothing was added."""
        return {name: np.concatenate(parts) for name, parts in self._parts.items()}
