"""What this machine can do: each thing that is needed or can be had, what it is for, and what to do where it is not."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from profiler.doctor.check import Check


def examine(app: str, base: str, others: Collection[str], progress: Callable[[str], None]) -> Iterator[Check]:
    """Look at everything, one thing after the other; ``progress`` is told what takes more than a moment.

    The demo runs ``app`` on the guest ``base``, and on ``others`` where their kernels are here.  What is missing is a
    check that says so, not an exception.  Nothing is fetched.
    """
    from profiler.doctor import emulator, guests, host, native

    yield from host.checks(app, base)
    found, checks = emulator.checks()
    yield from checks
    yield from guests.checks(base, others)
    yield from native.checks(found, base, progress)
