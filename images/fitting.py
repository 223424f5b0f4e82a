"""Whether symbols that the user gives are those of the kernel: where it tells its functions itself, they must agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from images.elf import Symbol
from profiler.errors import UsageError

_CODE: Final = frozenset("tTwW")
_MISPLACED: Final = 0.001
"""Part of the kernel's functions that given symbols may lack or have elsewhere; of a true System.map it is 0."""


def unfit(name: str, why: str, hint: str) -> UsageError:
    """Give the refusal of the symbols in a file of that name."""
    return UsageError(f"the symbols of {name} are not this kernel's: {why}", hint=hint)


def check_places(given: Sequence[Symbol], own: Sequence[Symbol], name: str, hint: str) -> None:
    """Refuse symbols that put the kernel's functions elsewhere than the kernel itself does.

    Two builds of one source have the fixed points in the same places: only this tells them apart.
    """
    have = {(symbol.address, symbol.name) for symbol in given}
    code = [symbol for symbol in own if symbol.letter in _CODE]
    wrong = [symbol for symbol in code if (symbol.address, symbol.name) not in have]
    if len(wrong) > _MISPLACED * len(code):
        first = f"{wrong[0].name[:80]} at {wrong[0].address:x}"
        raise unfit(name, f"{len(wrong)} of the kernel's {len(code)} functions are not where it says, the first being"
                    f" {first}", hint)  # fmt: skip
