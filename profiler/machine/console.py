"""The guest's serial console: lines as they come, a capped log, and what the app says in them.

Everything here is written by the guest and therefore untrusted: lines and the log have a largest size, control and bidi
characters never reach a terminal, and a ``weaklink:`` line that does not parse is reported, never believed.
"""

from __future__ import annotations

import re
import unicodedata
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from probes.exec.said import Phase

LOG_BYTES: Final = 16 << 20
"""The most that is kept of a console, in bytes; what comes later is read and dropped."""

LINE_BYTES: Final = 4096
"""Longer lines are cut into pieces of this size."""

PREFIX: Final = "weaklink: "
MALFORMED_KEPT: Final = 100
_LINE: Final = re.compile(rb"[^\n]{0,%d}\n|[^\n]{%d}" % (LINE_BYTES - 1, LINE_BYTES))
# As many as are there: a guest that writes empty lines writes a lot of them.  From the beginning on, for a long line
# that comes in pieces would else be looked at from each of its bytes on.
_LINES: Final = re.compile(rb"\A(?:%b)+" % _LINE.pattern)


def visible(text: str) -> str:
    """``text`` without what a terminal, or an eye, could be tricked with: control, format and bidi characters.

    A tab becomes a space, as do spaces of other widths; ANSI sequences lose their escape character and with it their
    effect.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        " " if character == "\t" or unicodedata.category(character) == "Zs" else character
        for character in text
        if character == "\t" or (unicodedata.category(character)[0] != "C" and character not in "\u2028\u2029")
    )


class Console:
    """Reads lines from a file descriptor (the read end of QEMU's standard output).

    ``log`` is what has been read, at most LOG_BYTES; ``dropped`` is how many bytes came after that.
    """

    def __init__(self, descriptor: int) -> None:
        from pexpect import fdpexpect

        self._spawn = fdpexpect.fdspawn(descriptor, maxread=65536, use_poll=True)
        self._kept = bytearray()
        self._heard: deque[bytes] = deque()
        self.dropped = 0
        self.ended = False

    @property
    def read(self) -> int:
        """How many bytes came in all."""
        return len(self._kept) + self.dropped

    @property
    def log(self) -> bytes:
        """All that was read, up to LOG_BYTES, as the guest wrote it."""
        return bytes(self._kept)

    def line(self, timeout_s: float) -> str | None:
        """The next line, safe to show, without its end; None after ``timeout_s`` or, with ``ended`` set, at the end."""
        import pexpect

        if self._heard:
            return self._keep(self._heard.popleft())
        if self.ended:
            return None
        found = self._spawn.expect([_LINES, pexpect.EOF, pexpect.TIMEOUT], timeout=timeout_s)
        if found == 2:
            return None
        if found == 1:
            self.ended = True
            return self._keep(self._spawn.before) if self._spawn.before else None
        self._heard.extend(_LINE.findall(self._spawn.match.group()))
        return self._keep(self._heard.popleft())

    def _keep(self, raw: bytes) -> str:
        room = LOG_BYTES - len(self._kept)
        self._kept += raw[:room]
        self.dropped += max(0, len(raw) - room)
        return visible(raw.decode("utf-8", errors="replace").rstrip("\r\n"))


_COUNT: Final = r"[0-9]{1,18}"
_GUEST: Final = re.compile(r"guest ([a-z][a-z0-9_.-]{0,31})(?: (.{0,2048}))?")
_PHASE: Final = re.compile(
    r"phase ([0-9]{1,3}) ([a-z0-9][a-z0-9_.-]{0,63}) (ok|unsupported|failed)"
    rf" ({_COUNT}) ({_COUNT})(?: (.{{0,500}}))?"
)
_ERROR: Final = re.compile(r"error (.{1,1000})")
_ENDED: Final = re.compile(r"(exit|signal) (-?[0-9]{1,10})")
SIGNAL: Final = 1 << 32
"""A status that is so large is a signal's: what a program returns is smaller."""
_GUEST_KEYS: Final = 64
_PHASES: Final = 200


@dataclass
class Conversation:
    """What the app has said so far; feed it every line of the console with ``hear``.

    ``status`` is that of a program that was started for us: what it returned, or SIGNAL and the number of the signal.
    ``malformed`` holds the first lines that began like ours and could not be understood, with the reason.
    """

    guest: dict[str, str] = field(default_factory=dict)
    phases: dict[int, Phase] = field(default_factory=dict)
    ready: bool = False
    done: bool = False
    error: str = ""
    status: int | None = None
    malformed: list[str] = field(default_factory=list)

    def hear(self, line: str) -> None:
        """Take in one console line; lines that do not begin with the prefix are not ours."""
        if not line.startswith(PREFIX):
            return
        said = line.removeprefix(PREFIX).rstrip()
        problem = self._understand(said)
        if problem and len(self.malformed) < MALFORMED_KEPT:
            self.malformed.append(f"{problem}: {said[:200]}")

    def _understand(self, said: str) -> str:
        """Take in what follows the prefix; what is wrong with it, or nothing."""
        word = said.partition(" ")[0]
        if self.done:
            return "after done"
        handlers: dict[str, Callable[[str], str]] = {
            "guest": self._guest, "phase": self._phase, "error": self._error, "ready": self._ready, "done": self._done,
            "exit": self._ended, "signal": self._ended,
        }  # fmt: skip
        handler = handlers.get(word)
        return handler(said) if handler else "unknown word"

    def _guest(self, said: str) -> str:
        found = _GUEST.fullmatch(said)
        if found is None:
            return "not a guest line"
        if found[1] in self.guest:
            return "said twice"
        if len(self.guest) >= _GUEST_KEYS:
            return "too many keys"
        self.guest[found[1]] = found[2] or ""
        return ""

    def _phase(self, said: str) -> str:
        found = _PHASE.fullmatch(said)
        if found is None:
            return "not a phase line"
        number = int(found[1])
        if number >= _PHASES:
            return "no such phase number"
        if number in self.phases:
            return "said twice"
        if not self.ready:
            return "before ready"
        self.phases[number] = Phase(number, found[2], found[3], int(found[4]), int(found[5]), found[6] or "")
        return ""

    def _error(self, said: str) -> str:
        found = _ERROR.fullmatch(said)
        if found is None:
            return "not an error line"
        self.error = self.error or found[1]
        return ""

    def _ready(self, said: str) -> str:
        if said != "ready" or self.ready:
            return "said twice" if self.ready else "not a ready line"
        self.ready = True
        return ""

    def _ended(self, said: str) -> str:
        found = _ENDED.fullmatch(said)
        if found is None:
            return "not a line about the program's end"
        if self.status is None:  # OSv says it of every program that it started, and the first to end matters
            self.status = int(found[2]) if found[1] == "exit" else SIGNAL + int(found[2])
        return ""

    def _done(self, said: str) -> str:
        if said != "done":
            return "not a done line"
        self.done = True
        return ""
