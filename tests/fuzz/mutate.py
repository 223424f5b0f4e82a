"""Ways in which a file may be another one than it was."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from tests.fuzz.harness import Random

HOSTILE: Final = (
    "", " ", "\x00", "a\x00b", "\x1b[2J\x1b[31m", "\x1b]0;owned\x07", "\x9b31m\x85", "\u202egnp.exe\u2066",
    "\u200b\u2060\ufeff", "a\nb\r\nc", "a\u2028b\u2029c", "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "|x",
    "%x", '"\';--', "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</script><!--", "]]>",
    "&lt;b&gt;", "| a | b |", "[x](javascript:alert(1))", "`x`", "**b**", "https://e.vil/", "![i](http://e.vil)",
    "w" * 3000, "\u4e2d" * 1300, "e" + "\u0301" * 400, "\ud800", "\udcff\udfff", "../../../../tmp/x",
    "/etc/passwd", "a;b 1", "%s%n{0}{x}", "$(id)", "\U0001f600", "_ZN3osv" + "S_" * 200, "[bold red]x[/]",
    "weaklink: done",
)  # fmt: skip
"""Strings that something may not bear: terminals, browsers, spreadsheets, Markdown, file systems, format strings."""


def number(random: Random) -> int:
    """One that is near to what somebody may not have thought of."""
    power = 1 << int(random.integers(0, 65))
    return int(
        random.choice(np.array([0, 1, power - 1, power, power + 1, -power, int(random.integers(0, 1000))], object))
    )


def one(random: Random, of: Sequence[Any]) -> Any:
    """One of several; numpy's own choice would make arrays of them."""
    return of[int(random.integers(0, len(of)))]


def bits(data: bytes, random: Random) -> bytes:
    """Some bits are other ones."""
    damaged = bytearray(data)
    for at in random.integers(0, 8 * len(data), int(random.integers(1, 9))).tolist():
        damaged[at // 8] ^= 1 << at % 8
    return bytes(damaged)


def cut(data: bytes, random: Random) -> bytes:
    """The end is missing."""
    return data[: int(random.integers(0, len(data)))]


def splice(data: bytes, random: Random) -> bytes:
    """A piece of it is somewhere else, or there more often."""
    begin, end, at = sorted(random.integers(0, len(data) + 1, 3).tolist())
    random_times = int(random.choice([1, 1, 2, 20]))
    return (data[:begin] + data[end:at] * random_times + data[begin:end] + data[at:])[: 64 << 20]


def ends(data: bytes, random: Random) -> bytes:
    """Bytes at the beginning or at the end are others: there are the headers, and the lists of what else there is."""
    damaged = bytearray(data)
    for _ in range(int(random.integers(1, 5))):
        near = min(int(random.integers(0, min(len(data), 1024))), len(data) - 1)
        damaged[near if random.random() < 0.5 else -1 - near] = int(random.integers(0, 256))
    return bytes(damaged)


BYTES: Final = (bits, cut, splice, ends)


def of_json(data: bytes, random: Random) -> bytes:
    """Some values are others, are missing, or are there again."""
    try:
        whole = json.loads(data)
    except ValueError:
        return data
    for _ in range(int(random.integers(1, 4))):
        at = whole
        while True:
            keys = list(at) if isinstance(at, dict) else list(range(len(at)))
            if not keys:
                break
            key = keys[int(random.integers(0, len(keys)))]
            if isinstance(at[key], dict | list) and random.random() < 0.8:
                at = at[key]
                continue
            what = random.random()
            if what < 0.1:
                del at[key]
            elif what < 0.2 and isinstance(at, list):
                at.insert(key, at[int(random.integers(0, len(at)))])
            elif what < 0.5 and isinstance(at[key], str | int | float):
                at[key] = of_its_kind(at[key], random)
            else:
                at[key] = odd(random)
            break
    return json.dumps(whole).encode()


def of_its_kind(value: Any, random: Random) -> Any:
    """Another value of the same type: what a reader that looks at types lets pass."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return one(random, HOSTILE)
    return number(random) if isinstance(value, int) else one(random, (0.0, 1e308, 5e-324, float(number(random))))


def odd(random: Random) -> object:
    """A value of JSON's."""
    deep: object = []
    for _ in range(int(random.integers(0, 300))):
        deep = [deep]
    many = [number(random)] * int(random.integers(0, 2000))
    choice = [number(random), -number(random), 10 ** int(random.integers(0, 400)), random.random(), float("nan"), 1e308,
              float("inf"), None, True, "", "1", "ff" * 40, one(random, HOSTILE), [], {}, deep, many,
              {one(random, HOSTILE): one(random, HOSTILE)}]  # fmt: skip
    return choice[int(random.integers(0, len(choice)))]
