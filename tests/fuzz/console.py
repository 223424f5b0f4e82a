"""What a guest writes on its console, whatever it is and in whatever pieces it comes: what do we make of it?"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from images import guests
from profiler.errors import WeaklinkError
from profiler.machine import boot, locate
from profiler.machine.console import LINE_BYTES, LOG_BYTES
from profiler.machine.verdict import Evidence, judge, program_failed
from tests.fuzz.harness import Files, Random, Target
from tests.fuzz.mutate import BYTES, HOSTILE, number, one

CONSOLES: Final = Path(__file__).parent.parent / "unit" / "consoles"
NAME: Final = "console.log"
WORDS: Final = (
    b"weaklink: ", b"weaklink: ready\n", b"weaklink: done\n", b"weaklink: guest cpu ", b"weaklink: guest ",
    b"weaklink: phase 0 null-call ok 1 2\n", b"weaklink: phase ", b" unsupported ", b" failed ", b"weaklink: error ",
    b"weaklink: exit ", b"weaklink: signal ", b"\n", b"\r", b" ", b"Kernel panic - not syncing: ", b"[    1.5] ",
    b"panic: ", b"Oops: 0000 [#1] ", b"Aborted\n", b"file=libc.so.6 [0];  generating link map\n",
    b"  dynamic: 0x00002000211d2b60  base: 0x0000200021000000   size: 0x00000000001e1f50\n", b"transferring control: ",
)  # fmt: skip
STDERR: Final = (
    "",
    "No space left on device",
    "plugin",
    "weaklink-exec: no",
    "\x1b[31m" * 900,
    "\u202e" * 3000,
    "a\n" * 4000,
)
LONGEST: Final = 8000
"""Characters that the message of a failure may have."""


def _text(random: Random) -> bytes:
    """Words of ours and of kernels', numbers, and what may do harm."""
    parts: list[bytes] = []
    for _ in range(int(random.integers(0, 200))):
        what = random.random()
        if what < 0.6:
            parts.append(one(random, WORDS))
        elif what < 0.75:
            parts.append(str(number(random)).encode())
        elif what < 0.95:
            parts.append(one(random, HOSTILE).encode("utf-8", "surrogatepass"))
        else:
            parts.append(random.bytes(int(random.integers(0, 100))))
    if random.random() < 0.05:
        parts.append(
            one(random, (b"x", b"\n", b"\x1b", b"\xff", b"weaklink: ", b"[")) * int(random.integers(0, 400_000))
        )
    return b"".join(parts)


def target(_: Path) -> Target:
    """Consoles of real guests, damaged, and made-up ones."""
    samples = [path.read_bytes() for path in sorted(CONSOLES.iterdir())]
    panics = [guests.load(name).panics for name in guests.names()]

    def make(random: Random) -> tuple[Any, Files]:
        data = _text(random)
        if random.random() < 0.6:
            data = one(random, BYTES)(one(random, samples) or b"\n", random)
            at = int(random.integers(0, len(data) + 1))
            data = data[:at] + _text(random) + data[at:] if random.random() < 0.5 else data
        pieces = random.integers(1, one(random, (2, 100, 70_000)), 50).tolist()
        return (one(random, panics), pieces, one(random, STDERR), one(random, (None, 0, 1, 127, -6, -11))), {NAME: data}

    return Target(make, check)


def check(about: tuple[Sequence[str], Sequence[int], str, int | None], files: Files, _: Path) -> bool:
    """Listen to it as to a guest, and judge; whether it was the end of a run that went well."""
    panics, pieces, stderr, code = about
    data = files[NAME]
    out, into = os.pipe()

    def write() -> None:
        at = turn = 0
        with contextlib.suppress(BrokenPipeError):
            while at < len(data):
                at += os.write(into, data[at : at + (pieces[turn % len(pieces)] if at < 20_000 else 1 << 16)])
                turn += 1
        os.close(into)

    writer = threading.Thread(target=write, daemon=True)
    heard: list[str] = []
    with os.fdopen(out, "rb", buffering=0) as reading:
        writer.start()
        process: Any = SimpleNamespace(stdout=reading, pid=os.getpid(), wait=lambda timeout: code)
        watch = boot._Watch(process, boot.Limits(1e9, 1e9, 1e9), panics, heard.append, lambda line: False, None)
        watch.listen()
        watch.drain()
    writer.join()
    said = watch.conversation
    assert all(len(line) <= LINE_BYTES and (line.isprintable() or not _acts(line)) for line in heard)
    assert watch.console.log == data[: len(watch.console.log)]
    assert len(watch.console.log) <= LOG_BYTES
    assert len(watch.lines) <= 2 * boot.LINES_KEPT
    json.dumps([said.guest, said.malformed, [list(vars(phase).values()) if hasattr(phase, "__dict__") else list(phase)
                                             for phase in said.phases.values()]], allow_nan=False)  # fmt: skip
    assert sum(map(len, [*said.guest.values(), *said.malformed])) < 1 << 18
    failure = judge(Evidence(watch.lines, said, stderr, code, "", panics))
    for told in (failure, program_failed(said.status, watch.console.log)):
        assert told is None or (0 < len(str(told)) < LONGEST and told.hint), told
        assert told is None or told.exit_code != WeaklinkError.exit_code, told
    with contextlib.suppress(ValueError):
        locate.parse(heard)
    return failure is None


def _acts(line: str) -> bool:
    return any(
        ord(letter) < 32 or 0x7F <= ord(letter) < 0xA0 or letter in "\u202e\u2066\u2028\u200b" for letter in line
    )
