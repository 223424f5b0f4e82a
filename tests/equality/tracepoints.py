"""OSv's ring of trace records, read from a guest's memory and decoded.

A ring is one per CPU and overwrites itself.  A record never crosses a page; a null pointer in place of its tracepoint's
ends a page, -1 one that is being written.  What a tracepoint's arguments are is in a string of its own: a letter for
each, as Python's struct has them, `p` for a string of 50 bytes that begins with its length, `*` for bytes behind
their number.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from probes.symbols import find_data
from tests.equality.layout import members
from tests.equality.memory import Memory
from tests.equality.sequences import Malformed

_PAGE: Final = 4096
_BACKTRACE: Final = 10 * 8
_STRING: Final = 50
_NAME: Final = 16
_BEING_WRITTEN: Final = (1 << 64) - 1
_MOST_RING: Final = 64 << 20
_WANTED: Final = {
    "core/trace.cc": frozenset({"trace_record", "trace_buf", "tracepoint_base"}), "core/sched.cc": frozenset({"cpu"}),
}  # fmt: skip
_CPUS: Final = "_ZN5sched4cpusE"
_RING: Final = "percpu_trace_buffer"

Value = int | str | float
Layout = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class Record:
    """One hit of a tracepoint: virtual ns since the guest's boot, address and name of the thread, arguments."""

    name: str
    time: int
    thread: int
    thread_name: str
    arguments: tuple[Value, ...]


Describe = Callable[[int], tuple[str, str]]
"""Gives a tracepoint's name and the letters of its arguments, by its address."""


def layout_of(symbols: Path) -> Layout:
    """Give the layout of what is read, by the kernel's debug information; ``Missing`` without it."""
    return members(symbols, _WANTED)


def read(memory: Memory, symbols: Path, layout: Layout) -> list[Record]:
    """Read the first CPU's ring, the oldest record first; raises ``Malformed``."""
    cpu = memory.word(memory.word(_place(symbols, _CPUS)))
    buffer = memory.word(cpu + layout["cpu"]["percpu_base"]) + _place(symbols, _RING)
    ring, point = layout["trace_buf"], layout["tracepoint_base"]
    # _base is a unique_ptr that knows how to free: the pointer is its last word.
    base, last, size = memory.words(buffer, [ring["_last"] - 8, ring["_last"], ring["_size"]])
    if not 0 < size <= _MOST_RING or size % _PAGE:
        raise Malformed(f"a ring of {size} bytes: is no tracepoint switched on?")

    @cache
    def describe(address: int) -> tuple[str, str]:
        name, letters = memory.words(address, [point["name"], point["sig"]])
        return memory.text(name), memory.text(letters)

    return list(decode(memory.read(base, size), last, layout["trace_record"], describe))


def decode(data: bytes, written: int, record: Mapping[str, int], describe: Describe) -> Iterator[Record]:
    """Give the records of a ring into which ``written`` bytes were put since boot."""
    at = -(-max(0, written - len(data)) // _PAGE) * _PAGE  # the oldest page may have been overwritten in part
    while at < written:
        start, room = at % len(data), _PAGE - at % _PAGE
        point = int.from_bytes(data[start : start + 8], "little") if room >= record[""] else 0
        if point in (0, _BEING_WRITTEN):
            at += room
            continue
        name, letters = describe(point)
        payload = start + record[""] + _BACKTRACE * (data[start + record["backtrace"]] & 1)
        try:
            arguments, end = _arguments(data, payload, letters)
        except (struct.error, IndexError) as error:
            raise Malformed(f"{name} ({letters!r}) at byte {start} of the ring is cut short") from error
        if end - start > room:
            raise Malformed(f"{name} at byte {start} of the ring crosses a page")
        label = data[start + record["thread_name"] :][:_NAME].split(b"\0")[0].decode("ascii", "replace")
        time, thread = (int.from_bytes(data[start + record[key] :][:8], "little") for key in ("time", "thread"))
        yield Record(name, time, thread, label, arguments)
        at += -(-(end - start) // 8) * 8


def _arguments(data: bytes, at: int, letters: str) -> tuple[tuple[Value, ...], int]:
    """Give the values from ``at`` on, each at a multiple of its size, and where they end."""
    found: list[Value] = []
    start = at
    for letter in letters:
        if letter == "p":
            found.append(data[at + 1 : at + 1 + min(data[at], _STRING - 1)].decode("utf-8", "replace"))
            at += _STRING
        elif letter == "*":
            at += (start - at) % 2
            length = int.from_bytes(data[at : at + 2], "little")
            found.append(data[at + 2 : at + 2 + length].hex())
            at += 2 + length
        else:
            kind = struct.Struct("<Q" if letter == "P" else f"<{letter}")
            at += (start - at) % kind.size
            found.append(kind.unpack_from(data, at)[0])
            at += kind.size
    return tuple(found), at


def _place(symbols: Path, name: str) -> int:
    found = find_data(symbols, name)
    if found is None:
        raise Malformed(f"this kernel has no {name}")
    return found[0]
