"""A table of a trace command, before it is text, CSV or JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from analysis.trace.trace import Trace

Kind = Literal["text", "number", "share"]


@dataclass(frozen=True)
class Column:
    """``name`` is for CSV and JSON, ``title`` for people.  Of columns that are ``spare`` the most so go first where
    there is little room; times are virtual ns, a share is of 1.
    """

    name: str
    title: str
    kind: Kind = "number"
    spare: int = 0
    below: bool = False  # a text too long for a column: in a line of its own


@dataclass(frozen=True)
class Table:
    """Rows of one guest, the most important first: keys, then values; None is not known, or that there is none.

    Of several guests, ``headline`` values are shown side by side, in rows of the same keys.
    """

    keys: tuple[Column, ...]
    values: tuple[Column, ...]
    rows: Sequence[tuple[Any, ...]]
    notes: tuple[str, ...] = ()
    headline: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[Column, ...]:
        """All columns."""
        return self.keys + self.values


@dataclass(frozen=True)
class Answer:
    """What a verb says of one guest; ``aligned`` is the same by what other guests have as well, if ``table`` is not."""

    trace: Trace
    table: Table
    aligned: Table | None = None
