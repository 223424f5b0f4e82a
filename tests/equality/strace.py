"""What ``strace -f -o`` wrote, as calls per thread."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from tests.equality.sequences import FAILED, NEVER, OK, UNKNOWN, Call, Malformed, Thread

_LINE: Final = re.compile(r"(\d+) +(.*)")
_CALL: Final = re.compile(r"(\w+)\((.*)")
_RESUMED: Final = re.compile(r"<\.\.\. (\w+) resumed>(.*)")
_RESULT: Final = re.compile(r".*\)\s+= (\?|-?\d+|0x[0-9a-f]+)(.*)")
_UNFINISHED: Final = "<unfinished ...>"
_SIGNAL: Final = "--- SIG"
_ASIDE: Final = ("---", "+++", "[ Process", "strace:")
_NEW: Final = ("clone", "clone3", "fork", "vfork")

RESTARTED: Final = "interrupted by a signal, to be restarted"
EXECUTED: Final = "it goes on as another program"
_ELSEWHERE: Final = {"execve": EXECUTED, "rt_sigreturn": "it goes on where a signal came"}
SIGNALLED: Final = "a signal came behind it"
NO_SUCH_CALL: Final = "ENOSYS"


def parse(lines: list[str]) -> dict[int, Thread]:
    """Read a log; threads in order of first appearance.  Raises ``Malformed``."""
    threads: dict[int, Thread] = {}
    for line in lines:
        if not (found := _LINE.fullmatch(line.rstrip())):
            raise Malformed(f"no line of strace's: {line[:200]!r}")
        thread, text = threads.setdefault(int(found[1]), Thread()), found[2]
        if text.startswith(_SIGNAL) and thread.calls:
            thread.calls[-1] = replace(thread.calls[-1], note=thread.calls[-1].note or SIGNALLED)
        if text.startswith(_ASIDE):
            continue
        if resumed := _RESUMED.fullmatch(text):
            if not thread.calls or thread.calls[-1].result != NEVER or thread.calls[-1].name != resumed[1]:
                raise Malformed(f"resumed what was not begun: {line[:200]!r}")
            name, rest = thread.calls.pop().name, resumed[2]
        elif begun := _CALL.fullmatch(text):
            name, rest = begun[1], begun[2]
        else:
            raise Malformed(f"neither a call nor the end of one: {line[:200]!r}")
        thread.calls.append(_call(name, rest))
        if name in _NEW and thread.calls[-1].result == OK and (made := _RESULT.fullmatch(rest)):
            thread.made.append(int(made[1]))
    return threads


def _call(name: str, rest: str) -> Call:
    if rest.endswith(_UNFINISHED):
        return Call(name, NEVER)
    found = _RESULT.fullmatch(rest)
    if found is None:
        raise Malformed(f"a call without an end: {name}({rest[:200]!r}")
    value, more = found[1], found[2]
    if value == "?":
        return Call(name, UNKNOWN, RESTARTED) if "ERESTART" in more else Call(name, NEVER)
    if value == "-1" and (error := re.match(r" (E\w+)", more)):
        return Call(name, FAILED, _ELSEWHERE.get(name, error[1]))
    return Call(name, OK, _ELSEWHERE.get(name, ""))
