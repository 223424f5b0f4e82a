"""Threads by name: where a kernel keeps a thread's name, and what the probe read there.

The name is characters within the thread's object.  Where, a function tells that hands their address on: the ``[name]``
rules of ``hooks.toml``, of which the first that fits is taken:

    function = NAME           it has the thread as its argument
    argument = N              of this number (0 is the first)
    passed_to = [NAME]        and hands the name's address to one of these
    as = N                    as this argument; without ``passed_to``, it returns the address
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import pyarrow as pa

from probes.events import ROLES, THREADS
from probes.exec.dataflow import passed, returned
from probes.exec.finder import Finder

_FARTHEST: Final = 1 << 16  # bytes; the largest of these objects has some 20,000
_MOST: Final = 1 << 31
_LONGEST: Final = 32


def find(finder: Finder, rules: Iterable[Mapping[str, Any]]) -> int | None:
    """Give how far into a thread's object its name is, in bytes; None if no rule fits, which is noted."""
    for rule in rules:
        callees = [at for name in rule.get("passed_to", []) for at, _ in finder.functions(name)]
        for address, size in finder.functions(rule["function"]):
            if "passed_to" in rule:
                value = passed(finder.code, address, size, callees, rule["as"])
            else:
                value = returned(finder.code, address, size)
            if value and value.argument == rule["argument"] and len(value.offsets) == 1:
                offset = value.offsets[0]
                if 0 < offset < _FARTHEST:
                    return offset
    finder.lacks("thread-name", "no function of this kernel tells where it is")
    return None


def table(values: Any) -> pa.Table:
    """Read what the probe says of threads (plugin/names.c); ValueError or TypeError if it cannot have said that.

    A name comes out of the guest: what is not printable in it is replaced.
    """
    rows = [(int(role), int(process), int(creator), bytes.fromhex(name)) for role, process, creator, name in values]
    if not all(
        0 <= role < len(ROLES) and -1 <= process < _MOST and -1 <= creator < len(rows) and len(name) < _LONGEST
        for role, process, creator, name in rows
    ):
        raise ValueError("no threads")
    columns = {
        "thread": range(len(rows)),
        "role": [ROLES[role] for role, *_ in rows],
        "name": [_printable(name) for *_, name in rows],
        "process": [process for _, process, *_ in rows],
        "creator": [creator for _, _, creator, _ in rows],
    }
    return pa.table(columns, schema=THREADS)


def _printable(name: bytes) -> str:
    text = name.decode("utf-8", errors="replace")
    return "".join(character if character.isprintable() else "\ufffd" for character in text)
