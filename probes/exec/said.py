"""What an app says of its phases.  Apart from the decoder, which is heavy to import, for those who read consoles."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Phase:
    """What the app said of one of its phases: ``ops`` it did, and ``tsc``, its own RDTSC delta (virtual ns).

    ``tsc`` is None where nobody read it: a window that the probe opened and closed by itself.
    """

    number: int
    name: str
    status: str
    ops: int
    tsc: int | None
    reason: str
