"""How often each operation was asked for, from the calls of a recording."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probes.recording import Recording

if TYPE_CHECKING:
    import pandas as pd

PAGE_FAULT = "page-fault"
INTERRUPT = "interrupt"


def phase_calls(recording: Recording) -> pd.Series[int]:
    """Entries per (phase, operation); ``interrupt`` counts deliveries, ``page-fault`` faults."""
    calls: pd.Series[int] = recording.calls.astype({"operation": object}).set_index(["phase", "operation"])["calls"]
    return calls.groupby(level=["phase", "operation"]).sum()
