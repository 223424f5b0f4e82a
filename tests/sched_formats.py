"""Switches and wake-ups of a recording as other tools read them: perf.data, trace.dat, and a CTF trace.

Written from what is known of the formats (perf.data-file-format.txt and trace-cmd.dat.v6(5) describe them, CTF 1.8.3
is a specification), of one CPU, with the fields that Linux's ``sched_switch`` and ``sched_wakeup`` have.  Threads get
pids from ``PIDS`` on, as 0 is the idle task to these tools.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from probes.recording import Recording

PIDS: Final = 1000
_COMMON: Final = (("common_type", "u2"), ("common_flags", "u1"), ("common_preempt_count", "u1"), ("common_pid", "i4"))
_FIELDS: Final = {
    "sched_switch": (("prev_comm", "S16"), ("prev_pid", "i4"), ("prev_prio", "i4"), ("prev_state", "i8"),
                     ("next_comm", "S16"), ("next_pid", "i4"), ("next_prio", "i4")),
    "sched_wakeup": (("comm", "S16"), ("pid", "i4"), ("prio", "i4"), ("target_cpu", "i4")),
}  # fmt: skip
_IDS: Final = {"sched_switch": 301, "sched_wakeup": 302}
_PRIO: Final = 120
_TYPES: Final = {"u1": "unsigned char", "u2": "unsigned short", "i4": "int", "i8": "long", "S16": "char"}
_PRINTED: Final = {
    "sched_switch": '"%s:%d [%d] ==> %s:%d [%d]", REC->prev_comm, REC->prev_pid, REC->prev_prio, REC->next_comm, '
    "REC->next_pid, REC->next_prio",
    "sched_wakeup": '"%s:%d [%d] CPU:%d", REC->comm, REC->pid, REC->prio, REC->target_cpu',
}
_PAGE, _PAGE_HEADER = 4096, 16
_LONGEST_STEP: Final = 1 << 27  # a ring buffer's event says in 27 bits how much later it is
_HEADER_PAGE: Final = (
    "\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;\n"
    "\tfield: local_t commit;\toffset:8;\tsize:8;\tsigned:1;\n"
    "\tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;\n"
    "\tfield: char data;\toffset:16;\tsize:4080;\tsigned:1;\n"
)
_HEADER_EVENT: Final = (
    "# compressed entry header\n\ttype_len    :    5 bits\n\ttime_delta  :   27 bits\n\tarray       :   32 bits\n\n"
    "\tpadding     : type == 29\n\ttime_extend : type == 30\n\ttime_stamp : type == 31\n"
    "\tdata max type_len  == 28\n"
)
Raw = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Sched:
    """Switches and wake-ups in order of time (ns)."""

    time: npt.NDArray[np.int64]
    thread: npt.NDArray[np.int32]
    other: npt.NDArray[np.int64]
    """The thread that goes on, or is woken."""
    woken: npt.NDArray[np.bool_]
    blocked: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.time)

    @classmethod
    def of(cls, recording: Recording) -> Sched:
        """Those of a recording."""
        frame = recording.frame("events", ["time", "thread", "kind", "how", "value"])
        frame = frame[frame["kind"].isin(["switch", "wake"])]
        columns = (frame[name].to_numpy() for name in ("time", "thread", "value"))
        return cls(*columns, (frame["kind"] == "wake").to_numpy(), (frame["how"] == "blocked").to_numpy())

    def events(self, more: tuple[tuple[str, str], ...] = ()) -> dict[str, Raw]:
        """The fields of each kind's events, behind those of ``more``, which are left 0."""
        found = {}
        for name, fields in _FIELDS.items():
            mine = self.woken if name == "sched_wakeup" else ~self.woken
            rows = np.zeros(int(mine.sum()), dtype=[*more, *_COMMON, *fields])
            rows["common_type"], rows["common_pid"] = _IDS[name], self.thread[mine] + PIDS
            if name == "sched_switch":
                rows["prev_pid"], rows["next_pid"] = self.thread[mine] + PIDS, self.other[mine] + PIDS
                rows["prev_comm"], rows["next_comm"] = _comm(self.thread[mine]), _comm(self.other[mine])
                rows["prev_prio"] = rows["next_prio"] = _PRIO
                rows["prev_state"] = self.blocked[mine]
            else:
                rows["pid"], rows["comm"], rows["prio"] = self.other[mine] + PIDS, _comm(self.other[mine]), _PRIO
            found[name] = rows
        return found

    def bytes(self, events: dict[str, Raw], per_page: int = 0) -> Raw:
        """The events of both kinds in order, one behind the other, or so many in each page of a ring buffer."""
        sizes = np.where(self.woken, events["sched_wakeup"].itemsize, events["sched_switch"].itemsize)
        at = np.cumsum(sizes) - sizes
        whole = int(sizes.sum())
        if per_page:
            page = np.arange(len(self)) // per_page
            at += page * _PAGE + _PAGE_HEADER - at[page * per_page]
            whole = (int(page[-1]) + 1) * _PAGE
        found = np.zeros(whole, dtype=np.uint8)
        for rows, mine in ((events["sched_wakeup"], self.woken), (events["sched_switch"], ~self.woken)):
            if rows.dtype.itemsize and len(rows):
                windows = np.lib.stride_tricks.sliding_window_view(found, rows.dtype.itemsize, writeable=True)
                windows[at[mine]] = rows.view(np.uint8).reshape(len(rows), -1)
        return found


def _comm(threads: npt.NDArray[Any]) -> Raw:
    named: Raw = np.array([f"t{number}".encode() for number in range(int(threads.max(initial=0)) + 1)], dtype="S16")
    return named[threads]


# -- what perf.data and trace.dat have in common: the formats of the events --------------------------------------------


def _format(name: str) -> bytes:
    lines, at = [f"name: {name}", f"ID: {_IDS[name]}", "format:"], 0
    for field, kind in (*_COMMON, *_FIELDS[name]):
        size = np.dtype(kind).itemsize
        if field == _FIELDS[name][0][0]:
            lines.append("")
        shape = f"[{size}]" if kind.startswith("S") else ""
        lines.append(
            f"\tfield:{_TYPES[kind]} {field}{shape};\toffset:{at};\tsize:{size};\tsigned:{int(kind[0] != 'u')};"
        )
        at += size
    return "\n".join([*lines, "", f"print fmt: {_PRINTED[name]}", ""]).encode()


def _sized(text: bytes, width: str = "<Q") -> bytes:
    return struct.pack(width, len(text)) + text


def _tracing_data() -> bytes:
    formats = b"".join(_sized(_format(name)) for name in _FIELDS)
    return (
        b"\x17\x08Dtracing6\0" + bytes([0, 8]) + struct.pack("<I", _PAGE)
        + b"header_page\0" + _sized(_HEADER_PAGE.encode()) + b"header_event\0" + _sized(_HEADER_EVENT.encode())
        + struct.pack("<I", 0)
        + struct.pack("<I", 1) + b"sched\0" + struct.pack("<I", len(_FIELDS)) + formats
        + _sized(b"", "<I") + _sized(b"", "<I") + _sized(b"")
    )  # fmt: skip


# -- perf.data ---------------------------------------------------------------------------------------------------------

_TRACEPOINT, _ATTR_SIZE, _SAMPLE, _LITTLE = 2, 64, 9, 0
_RAW, _IDENTIFIER = 1 << 10, 1 << 16
_SAMPLE_TYPE: Final = 1 << 1 | 1 << 2 | 1 << 7 | 1 << 8 | _RAW | _IDENTIFIER  # and pid, time, cpu, period
_TRACING_DATA: Final = 1  # the number of the section


def perf_data(sched: Sched, path: Path) -> None:
    """Write a perf.data, as of ``perf record -e sched:sched_switch,sched:sched_wakeup``."""
    head = (
        ("record", "u4"), ("misc", "u2"), ("size", "u2"), ("id", "u8"), ("perf_pid", "u4"), ("perf_tid", "u4"),
        ("time", "u8"), ("cpu", "u4"), ("res", "u4"), ("period", "u8"), ("raw", "u4"),
    )  # fmt: skip
    events = sched.events(head)
    for name, rows in list(events.items()):
        mine = sched.woken if name == "sched_wakeup" else ~sched.woken
        padding = -rows.itemsize % 8
        wide = np.zeros(len(rows), dtype=[*rows.dtype.descr, ("padding", f"S{padding}")] if padding else rows.dtype)
        for field in rows.dtype.names or ():
            wide[field] = rows[field]
        wide["record"], wide["misc"], wide["size"], wide["id"] = _SAMPLE, 1, wide.itemsize, _IDS[name]
        wide["perf_pid"] = wide["perf_tid"] = sched.thread[mine] + PIDS
        wide["time"], wide["period"] = sched.time[mine], 1
        wide["raw"] = wide.itemsize - sum(np.dtype(kind).itemsize for _, kind in head)
        events[name] = wide
    data, tracing = sched.bytes(events).tobytes(), _tracing_data()
    start = 104
    ids = start + len(_FIELDS) * (_ATTR_SIZE + 16)
    attrs = b"".join(
        struct.pack("<IIQQQQQIIQ", _TRACEPOINT, _ATTR_SIZE, _IDS[name], 1, _SAMPLE_TYPE, 0, 0, 0, 0, 0)
        + struct.pack("<QQ", ids + 8 * number, 8)
        for number, name in enumerate(_FIELDS)
    )
    begin = ids + 8 * len(_FIELDS)
    header = b"PERFILE2" + struct.pack(
        "<QQQQQQQQ4Q", start, _ATTR_SIZE + 16, start, len(attrs), begin, len(data), 0, 0, 1 << _TRACING_DATA, 0, 0, 0
    )
    sections = struct.pack("<QQ", begin + len(data) + 16, len(tracing))
    path.write_bytes(header + attrs + struct.pack("<2Q", *_IDS.values()) + data + sections + tracing)


# -- trace.dat ---------------------------------------------------------------------------------------------------------


def trace_dat(sched: Sched, path: Path) -> None:
    """Write a trace.dat of version 6, as of ``trace-cmd record -e sched_switch -e sched_wakeup``."""
    step = np.diff(sched.time, prepend=sched.time[:1])
    if len(sched) and int(step.max()) >= _LONGEST_STEP:
        raise ValueError("events are too far apart for this simple writer")
    events = sched.events((("header", "u4"),))
    per_page = (_PAGE - _PAGE_HEADER) // max(rows.itemsize for rows in events.values())
    step[::per_page] = 0  # a page has the time of its first event
    for name, mine in (("sched_wakeup", sched.woken), ("sched_switch", ~sched.woken)):
        rows = events[name]
        rows["header"] = (rows.itemsize - 4) // 4 | step[mine].astype(np.uint32) << 5
    sizes = np.where(sched.woken, events["sched_wakeup"].itemsize, events["sched_switch"].itemsize)
    pages = sched.bytes(events, per_page).reshape(-1, _PAGE)
    firsts = np.arange(0, len(sched), per_page)
    head = np.stack([sched.time[firsts], np.add.reduceat(sizes, firsts)], axis=1).astype("<u8")
    pages[:, :_PAGE_HEADER] = head.view(np.uint8).reshape(len(head), _PAGE_HEADER)
    start = _tracing_data() + struct.pack("<I", 1) + b"options  \0" + struct.pack("<H", 0) + b"flyrecord\0"
    begin = -(-(len(start) + 16) // _PAGE) * _PAGE
    start += struct.pack("<QQ", begin, pages.nbytes)
    path.write_bytes(start.ljust(begin, b"\0") + pages.tobytes())


# -- CTF ---------------------------------------------------------------------------------------------------------------

_CTF_TYPES: Final = {"u1": "u8", "u2": "u16", "i4": "i32", "i8": "i64"}
_MAGIC: Final = 0xC1FC1FC1


def ctf(sched: Sched, folder: Path) -> None:
    """Write a CTF 1.8 trace of one stream, in one packet."""
    events = sched.events((("id", "u4"), ("time", "u8")))
    for name, mine in (("sched_wakeup", sched.woken), ("sched_switch", ~sched.woken)):
        events[name]["id"], events[name]["time"] = _IDS[name], sched.time[mine]
    data = sched.bytes(events).tobytes()
    integers = "".join(
        f"typealias integer {{ size = {bits}; align = 8; signed = {str(sign == 'i').lower()}; }} := {sign}{bits};\n"
        for sign, bits in (("u", 8), ("u", 16), ("u", 32), ("u", 64), ("i", 32), ("i", 64))
    )
    kinds = "".join(
        f"event {{ name = {name}; id = {_IDS[name]}; stream_id = 0; fields := struct {{ "
        + "".join(
            f"text {field}[16]; " if kind == "S16" else f"{_CTF_TYPES[kind]} {field}; "
            for field, kind in (*_COMMON, *_FIELDS[name])
        )
        + "}; };\n"
        for name in _FIELDS
    )
    metadata = (
        "/* CTF 1.8 */\n" + integers
        + "typealias integer { size = 8; align = 8; signed = false; encoding = UTF8; } := text;\n"
        "trace { major = 1; minor = 8; byte_order = le; packet.header := struct { u32 magic; u32 stream_id; }; };\n"
        "clock { name = monotonic; freq = 1000000000; };\n"
        "typealias integer { size = 64; align = 8; signed = false; map = clock.monotonic.value; } := stamp;\n"
        "stream { id = 0; packet.context := struct { stamp timestamp_begin; stamp timestamp_end; u64 content_size; "
        "u64 packet_size; }; event.header := struct { u32 id; stamp timestamp; }; };\n" + kinds
    )  # fmt: skip
    folder.mkdir()
    (folder / "metadata").write_text(metadata)
    bits = 8 * (8 + 32 + len(data))
    edges = (int(sched.time[0]), int(sched.time[-1])) if len(sched) else (0, 0)
    (folder / "stream").write_bytes(struct.pack("<IIQQQQ", _MAGIC, 0, *edges, bits, bits) + data)
