"""Readable names of C++ symbols: ``_ZN5sched3cpu8scheduleEv`` is ``sched::cpu::schedule``.

Recordings keep symbols as the kernel's ELF file has them, so that each can be looked up again; views show
``readable`` ones, and maps decide by them.  Symbols come from kernels that anyone may have built: __cxa_demangle
makes hundreds of megabytes out of 200 bytes of nested substitutions, so what is long or refers back too often stays
as it is.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

MANGLED: Final = "_Z"
_LONGEST: Final = 1024  # bytes of a symbol; OSv's longest has 793
_REFERENCES: Final = 24  # of substitutions: each two may double the output; of OSv's 18,188 names 28 have more
_REFERENCE: Final = re.compile(r"S[0-9A-Z]*_|T[0-9]*_")
_SHOWN: Final = 200
# Brackets, but for those that belong to a name.
_TOKEN: Final = re.compile(
    r"\boperator ?(?:\(\)|\[\]|->\*?|<=>|<<=?|>>=?|<=?|>=?|(?:new|delete)\[\])|\(anonymous namespace\)|[()<>{}\[\]]"
)
_CLOSING: Final = {"(": ")", "<": ">", "[": "]", "{": "}"}
_LAMBDA: Final = re.compile(r"\{(lambda|unnamed type)\(?.*?#(\d+)\}$")


@lru_cache(maxsize=1)
def can_demangle() -> bool:
    """Say whether this machine has what demangles C++ names (libstdc++ or libc++)."""
    return _demangle("_Z1fv") == "f()"


@lru_cache(maxsize=1 << 16)
def full(symbol: str) -> str:
    """Return a C++ symbol as in its source, with template arguments and parameters; any other as it is."""
    if not symbol.startswith(MANGLED) or len(symbol) > _LONGEST or not symbol.isascii():
        return symbol
    if len(_REFERENCE.findall(symbol)) > _REFERENCES:
        return symbol
    return _demangle(symbol) or symbol


@lru_cache(maxsize=1 << 16)
def readable(symbol: str) -> str:
    """Return the qualified name of a C++ symbol's function, at most 200 characters; any other symbol as it is.

    It has no parameters, template arguments, return type or clone suffix: instances of one template are one name.
    """
    base = symbol.partition(".")[0] if symbol.startswith(MANGLED) else symbol
    if (text := full(base)) == base:
        return symbol
    return qualified(text)[:_SHOWN]


def qualified(text: str) -> str:
    """Return the qualified name out of a demangled declaration: ``T* a::b<int>::f(char) const`` is ``a::b::f``."""
    text = text.partition(" [clone ")[0]
    kept: list[str] = []
    closing: list[str] = []
    done = at = 0
    while found := _TOKEN.search(text, at):
        token, at = found[0], found.end()
        if token in _CLOSING:
            if not closing:
                kept.append(text[done : found.start()])
            if not closing and token == "{":
                at = _brace(text, found.start())
                kept.append(_LAMBDA.sub(r"{\1#\2}", text[found.start() : at]))
                done = at
            else:
                closing.append(_CLOSING[token])
        elif closing and token == closing[-1]:
            closing.pop()
            done = at
    name = "".join([*kept, "" if closing else text[done:]]).rstrip()
    for qualifier in (" const", " volatile", " &", " &&"):
        name = name.removesuffix(qualifier)
    head = name.partition("operator ")[0].rstrip()
    for spaced in ("(anonymous namespace)", "{unnamed type"):
        head = head.replace(spaced, spaced.replace(" ", "_"))
    return name[head.rfind(" ") + 1 :] or text


def _brace(text: str, at: int) -> int:
    """Return where what begins with a brace ends."""
    depth = 0
    for end in range(at, len(text)):
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        if not depth:
            return end + 1
    return len(text)


def _demangle(symbol: str) -> str:
    """Return "" for what is no mangled name, or where the machine cannot demangle."""
    import cxxfilt

    try:
        return str(cxxfilt.demangle(symbol))
    except (cxxfilt.Error, UnicodeDecodeError):
        return ""
