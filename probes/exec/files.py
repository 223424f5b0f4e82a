"""The probe's files: read without being believed, and what to do where one is not whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import numpy as np

from profiler.errors import ProbeLoss

FULL: Final = "is the disk full? make room where the recordings go, then run it again"
AGAIN: Final = "run it again; if it comes back, keep the run's directory and report it"
"""Hints of a ``ProbeLoss``: for a file that is not whole, and for one that holds what cannot be."""

_SUMMARY_BYTES: Final = 64 << 20


def summary(out: Path) -> Any:
    """Give what the probe says of its run in ``out``; OSError, ValueError or RecursionError if that cannot be read."""
    with (out / "summary.json").open("rb") as file:
        return json.loads(file.read(_SUMMARY_BYTES))


def records(path: Path, dtype: np.dtype[Any], most: int | None = None) -> np.ndarray[Any, Any]:
    """Give all records of a file.  Raises ``ProbeLoss`` if it is missing or cut short, or has more than ``most``."""
    size = path.stat().st_size if path.exists() else -1
    if size < 0 or size % dtype.itemsize:
        raise ProbeLoss(f"{path.name} is missing or cut short", hint=FULL)
    if most is not None and size > most * dtype.itemsize:
        raise ProbeLoss(f"{path.name} has more than {most:,} records", hint=AGAIN)
    return np.fromfile(path, dtype=dtype)
