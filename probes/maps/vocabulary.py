"""The operations: what an app may ask of a kernel, under the names that POSIX has for it."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final

from profiler.errors import WeaklinkError

RESULTS: Final = ("nothing", "int", "long", "pointer", "error")
"""How a function says that it failed: not at all, by -1, by -1 in 64 bits, by a null pointer, by an error number."""


@dataclass(frozen=True)
class Operations:
    """The vocabulary.

    ``names``: operation -> the libc functions that are it; ``syscalls``: where names differ; ``results``: how a
    function, or all of an operation, says that it failed, one of ``RESULTS``, where that is not ``int``.
    """

    names: dict[str, tuple[str, ...]]
    syscalls: dict[str, str]
    results: dict[str, str]

    def of_function(self) -> dict[str, str]:
        """Return libc function -> operation."""
        return {function: name for name, functions in self.names.items() for function in functions}

    def result_of_function(self) -> dict[str, str]:
        """Return libc function -> how it says that it failed."""
        return {
            function: self.results.get(function, self.results.get(name, "int"))
            for name, functions in self.names.items()
            for function in functions
        }


def parse(text: str) -> Operations:
    """Read a vocabulary.

    Raises WeaklinkError where a function is two operations, or something named elsewhere is not in the vocabulary.
    """
    try:
        data: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise WeaklinkError(f"the operations are not TOML: {error}") from error
    names: dict[str, tuple[str, ...]] = {}
    owner: dict[str, str] = {}
    for group, operations in data.get("operations", {}).items():
        for name, functions in operations.items():
            if name in names or not functions or not all(isinstance(function, str) for function in functions):
                raise WeaklinkError(f"operation {name!r} of {group} is there twice, or has no functions")
            for function in functions:
                if owner.setdefault(function, name) != name:
                    raise WeaklinkError(f"the function {function!r} is both {owner[function]!r} and {name!r}")
            names[name] = tuple(functions)
    syscalls = data.get("syscalls", {})
    for syscall, name in syscalls.items():
        if name not in names:
            raise WeaklinkError(f"the syscall {syscall!r} is said to be {name!r}, which is not an operation")
    results: dict[str, str] = {}
    for result, functions in data.get("results", {}).items():
        for name in functions:
            if result not in RESULTS or not (name in names or name in owner) or name in results:
                raise WeaklinkError(f"the result of {name!r}, {result!r}, is unknown, there twice, or nobody's")
            results[name] = result
    return Operations(names, dict(syscalls), results)


@lru_cache(maxsize=1)
def operations() -> Operations:
    """Return the vocabulary of operations, the same for every kernel and libc."""
    return parse((files(__package__) / "operations.toml").read_text())
