"""One thing that was looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from profiler.errors import CacheUnusable, WeaklinkError

State = Literal["ok", "limited", "missing"]


@dataclass(frozen=True)
class Check:
    """What was found of one thing.

    ``value`` is what there is, None if nothing; ``needed_for`` says who wants it; where ``state`` is not ok, ``reason``
    says why and ``remedy`` what to do.  Without what is ``required``, the demo cannot run.
    """

    area: str
    name: str
    value: str | None
    needed_for: str
    state: State = "ok"
    reason: str = ""
    remedy: str = ""
    required: bool = False

    @property
    def stops_the_demo(self) -> bool:
        """Whether the demo cannot run for want of this."""
        return self.required and self.state == "missing"

    def row(self) -> Mapping[str, Any]:
        """The check for ``--json``: the same keys always."""
        return asdict(self)


def missing(area: str, name: str, needed_for: str, why: WeaklinkError) -> Check:
    """A thing that cannot be had and that the demo needs, as the failure tells it that a run would end with.

    Where it is the cache that cannot be used, there is a check of that.
    """
    if isinstance(why, CacheUnusable):
        return Check(area, name, None, needed_for, "limited", "not tried without a cache", "see the cache", True)
    return Check(area, name, None, needed_for, "missing", str(why), why.hint, required=True)
