"""What FreeBSD's ktrace(2) wrote, as records: sys/ktrace.h, structures of version 1."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from tests.equality.sequences import Malformed

SYSCALL: Final = 1
SYSRET: Final = 2
CSW: Final = 6
_VERSIONED: Final = 0x4000
_DROPPED: Final = 0x8000
_HEADER: Final = struct.Struct("<iHhi20sqqqi4x")  # length, type, version, pid, command, seconds, ns, thread, cpu
_CODE: Final = struct.Struct("<hh")  # system call, number of arguments
_RETURNED: Final = struct.Struct("<hhiq")  # system call, -, error, value
_SWITCH: Final = struct.Struct("<ii8s")  # out or in, user or kernel, what is waited for

RESTART: Final = -1
JUST_RETURN: Final = -2
"""Errors that are none: the call is begun anew, and it has set all registers itself (sys/errno.h)."""


class Record(NamedTuple):
    """One record; ``code`` is a system call's number; ``value`` its error, or 1 for a switch away, 0 for one back."""

    time: int
    process: int
    thread: int
    kind: int
    code: int
    value: int
    user: bool
    message: str


def parse(trace: bytes) -> list[Record]:
    """Read a trace in order of time; raises ``Malformed``, also where the kernel says that it dropped a record."""
    return sorted(_records(trace), key=lambda record: record.time)  # stable: a thread's own order is the file's


def _records(trace: bytes) -> Iterator[Record]:
    at = 0
    while at < len(trace):
        if len(trace) - at < _HEADER.size:
            raise Malformed("the trace ends within a record")
        length, kind, version, process, _, seconds, ns, thread, _ = _HEADER.unpack_from(trace, at)
        data = trace[at + _HEADER.size : at + _HEADER.size + length]
        if not kind & _VERSIONED or version != 1 or not 0 <= length <= 1 << 20 or len(data) != length:
            raise Malformed(f"no record at byte {at}")
        if kind & _DROPPED:
            raise Malformed("the kernel dropped records")
        at += _HEADER.size + length
        kind &= ~_VERSIONED
        code = value = 0
        user, message = False, ""
        try:
            if kind == SYSCALL:
                code, _ = _CODE.unpack_from(data)
            elif kind == SYSRET:
                code, _, value, _ = _RETURNED.unpack_from(data)
            elif kind == CSW:
                value, to_user, text = _SWITCH.unpack_from(data)
                user, message = bool(to_user), text.split(b"\0")[0].decode("ascii", "replace")
            else:
                raise Malformed(f"a record of a kind that was not asked for: {kind}")
        except struct.error as error:
            raise Malformed(f"a record of kind {kind} is too short: {length} bytes") from error
        yield Record(seconds * 10**9 + ns, process, thread, kind, code, value, user, message)
