"""Price lists: what an instruction of each class costs on a machine, in cycles, each figure with its source.

A list is a TOML file; ``docs/prices.md`` has the form and says where the figures come from.  What nobody has published
for a machine is not in its list: such a price is anything from nothing upwards.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np

from analysis.split import Floats
from probes.events import COSTLY_INSTRUCTIONS
from profiler.errors import UsageError

INSTRUCTION: Final = "instruction"
"""An instruction of no other class; its price is in cycles per instruction."""
STRING_BYTES: Final = "string_bytes"
"""A byte that a string instruction moves, sets or compares; lists have it in bytes per cycle."""
CLASSES: Final = (INSTRUCTION, STRING_BYTES, *COSTLY_INSTRUCTIONS)
"""What has a price, in the order of all arrays of counts and prices."""

HERE: Final = Path(__file__).resolve().parent
LARGEST: Final = 1_000_000
"""Bytes of a price list; ours have five thousand."""
_FORM: Final = "docs/prices.md shows what a price list looks like."


@dataclass(frozen=True)
class Source:
    """Where figures were published."""

    what: str
    address: str


@dataclass(frozen=True)
class Price:
    """Cycles for one of a class: from ``low`` to ``high``, which is infinite where no source gives a limit."""

    low: float
    high: float
    sources: tuple[str, ...]  # keys of ``PriceList.sources``
    says: str  # which figures, and how the range follows from them
    measured_on: str = ""  # the machine, where it is not the list's


@dataclass(frozen=True)
class PriceList:
    """What one machine charges."""

    name: str
    machine: str
    prices: Mapping[str, Price]  # those of CLASSES that have one
    sources: Mapping[str, Source]

    @cached_property
    def ends(self) -> tuple[Floats, Floats]:
        """The lowest and the highest price of each of CLASSES, in cycles; from 0 to infinity where there is none."""
        unknown = Price(0.0, math.inf, (), "")
        every = [self.prices.get(name, unknown) for name in CLASSES]
        return np.array([price.low for price in every]), np.array([price.high for price in every])


def names() -> list[str]:
    """The lists that come with weaklink."""
    return sorted(place.stem for place in HERE.glob("*.toml"))


def load(which: str) -> PriceList:
    """A list by its name, or a file of the user's by its path, which ends in ``.toml``.

    Raises UsageError if there is none, or if it is not as ``docs/prices.md`` says, naming file and key.
    """
    if which.endswith(".toml"):
        return read(Path(which))
    if which not in names():
        hint = f"There are {', '.join(names())}; a list of your own is given by its path, which ends in .toml."
        raise UsageError(f"there is no price list {which!r}", hint=hint)
    return read(HERE / f"{which}.toml")


def read(place: Path) -> PriceList:
    """The list in a file; raises UsageError, naming file and key, if it is not as it should be."""
    try:
        with place.open("rb") as file:
            text = file.read(LARGEST + 1)
        if len(text) > LARGEST:
            raise UsageError(f"{place}: larger than {LARGEST:,} bytes", hint=_FORM)
        said = tomllib.loads(text.decode("utf-8"))
    except OSError as error:
        raise UsageError(f"{place}: {error.strerror}", hint="Give the path of a price list.") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{place}: not TOML: {error}", hint=_FORM) from None
    return _Reader(place).price_list(said)


class _Reader:
    """Checks a list key by key."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def price_list(self, said: Mapping[str, Any]) -> PriceList:
        self._only(said, "", {"machine", "sources", "price"})
        machine = self._text(said, "", "machine")
        sources = {key: self._source(f"sources.{key}", value) for key, value in self._table(said, "sources").items()}
        prices = {key: self._price(key, value, sources) for key, value in self._table(said, "price").items()}
        if INSTRUCTION not in prices:
            raise self._wrong(f"price.{INSTRUCTION}", "is missing; nothing can be modelled without it")
        used = {key for price in prices.values() for key in price.sources}
        for key in sources:
            if key not in used:
                raise self._wrong(f"sources.{key}", "no price names it")
        return PriceList(self.place.stem, machine, prices, sources)

    def _source(self, where: str, said: Any) -> Source:
        self._is_table(where, said)
        self._only(said, where, {"what", "address"})
        found = Source(self._text(said, where, "what"), self._text(said, where, "address"))
        if not found.address.startswith(("https://", "http://")):
            raise self._wrong(f"{where}.address", f"{found.address!r} is no address, which begins with https://")
        return found

    def _price(self, name: str, said: Any, sources: Mapping[str, Source]) -> Price:
        where = f"price.{name}"
        if name not in CLASSES:
            raise self._wrong(where, f"there is no such class; there are {', '.join(CLASSES)}")
        self._is_table(where, said)
        self._only(said, where, {"low", "high", "sources", "says", "measured_on"})
        if "low" not in said and "high" not in said:
            raise self._wrong(where, "has neither low nor high; leave out what nobody has published")
        low, high = self._number(said, where, "low"), self._number(said, where, "high")
        if low is not None and high is not None and low > high:
            raise self._wrong(where, f"low ({low:g}) is above high ({high:g})")
        if name == STRING_BYTES:
            low, high = (None if end is None else 1 / end for end in (high, low))
        keys = said.get("sources")
        if not isinstance(keys, list) or not keys:
            raise self._wrong(f"{where}.sources", "must be a list of at least one of the sources")
        for key in keys:
            if not isinstance(key, str) or key not in sources:
                raise self._wrong(f"{where}.sources", f"there is no [sources.{key}]")
        return Price(0.0 if low is None else low, math.inf if high is None else high, tuple(keys),
                     self._text(said, where, "says"),
                     self._text(said, where, "measured_on") if "measured_on" in said else "")  # fmt: skip

    def _number(self, said: Mapping[str, Any], where: str, key: str) -> float | None:
        value = said.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise self._wrong(f"{where}.{key}", f"{value!r} is not a number above 0")
        return float(value)

    def _text(self, said: Mapping[str, Any], where: str, key: str) -> str:
        value, at = said.get(key), f"{where}.{key}".lstrip(".")
        if value is None:
            raise self._wrong(at, "is missing")
        if not isinstance(value, str) or not value.strip():
            raise self._wrong(at, f"{value!r} is no text")
        return value

    def _table(self, said: Mapping[str, Any], key: str) -> Mapping[str, Any]:
        if key not in said:
            raise self._wrong(key, "is missing")
        self._is_table(key, said[key])
        table: Mapping[str, Any] = said[key]
        return table

    def _is_table(self, where: str, value: Any) -> None:
        if not isinstance(value, dict):
            raise self._wrong(where, "must be a table")

    def _only(self, said: Mapping[str, Any], where: str, known: set[str]) -> None:
        for key in said:
            if key not in known:
                raise self._wrong(f"{where}.{key}".lstrip("."), f"unknown; there are {', '.join(sorted(known))}")

    def _wrong(self, where: str, what: str) -> UsageError:
        return UsageError(f"{self.place}: {where}: {what}", hint=_FORM)
