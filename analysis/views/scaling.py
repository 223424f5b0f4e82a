"""Series over threads or connections as text of at most 80 columns, and as JSON."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, Final

from analysis.scaling import Interval
from analysis.series import Curve, Series
from analysis.text import number, percent
from analysis.views.escape import clean
from analysis.views.terminal import fit

WIDTH: Final = 80
_MOST: Final = 5  # guests side by side
ABOUT: Final = (
    "Instructions per op, on one vCPU. The law is of N over that, throughput by work alone: what N could do with a CPU"
    " each if none waited for another and caches cost nothing. Scaling over vCPUs has not been measured."
)


def text(found: Sequence[Series], notes: Sequence[str]) -> Iterator[str]:
    """Lines, each ending in a newline."""
    for one in found:
        yield from _series(one)
        yield "\n"
    for note in (ABOUT, *notes):
        yield from _wrapped(note)


def _series(one: Series) -> Iterator[str]:
    yield from _wrapped(f"{clean(one.name)}: instructions per {clean(one.op)}, by {clean(one.unit)}")
    for start in range(0, len(one.curves), _MOST):
        curves = one.curves[start : start + _MOST]
        widths = [max(10, min(len(curve.guest), 14)) for curve in curves]
        names = [fit(clean(curve.guest), width).strip() for curve, width in zip(curves, widths, strict=True)]
        yield _line(one.unit, names, widths)
        for load in one.loads:
            yield _line(f"{load:,}", [_cost(curve, load) for curve in curves], widths)
    for curve in one.curves:
        yield from _wrapped(f"{clean(curve.guest)}: {_law(curve)}")
        for load, why in curve.missing.items():
            yield from _wrapped(f"  at {load:,}: {clean(why)}")
    for said in one.leads:
        yield from _wrapped(clean(said, 400))


def _law(curve: Curve) -> str:
    law = curve.law
    if law is None:
        return f"{clean(curve.refused, 400)}."
    peak = f"peak at N = {law.peak}{'' if law.peak.value <= law.loads[-1] else ', beyond what was measured'}"
    if law.peak.value <= 1:
        peak = "no peak: one thread more makes an op dearer by more than it adds"
    return f"sigma {law.sigma}, kappa {law.kappa}, {peak}; the law is off by {percent(law.worst)} at most."


def _cost(curve: Curve, load: int) -> str:
    return number(curve.costs[load].mean) if load in curve.costs else "-"


def _line(head: str, cells: Sequence[str], widths: Sequence[int]) -> str:
    shown = "".join(f"  {cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
    return f"{fit(clean(head), 11)}{shown}".rstrip() + "\n"


def _wrapped(line: str) -> Iterator[str]:
    yield from (f"{part}\n" for part in textwrap.wrap(line, WIDTH, subsequent_indent="  "))


def as_json(found: Sequence[Series], notes: Sequence[str]) -> str:
    """JSON text; intervals are [value, low, high], null where an end is not known."""
    made = [
        {"name": clean(one.name), "unit": clean(one.unit), "op": clean(one.op),
         "leads": [clean(said, 400) for said in one.leads], "guests": [_guest(curve) for curve in one.curves]}
        for one in found
    ]  # fmt: skip
    value = {"notes": [ABOUT, *(clean(note, 2000) for note in notes)], "series": made}
    return json.dumps(value, indent=1, allow_nan=False) + "\n"


def _guest(curve: Curve) -> dict[str, Any]:
    law = curve.law
    return {
        "guest": clean(curve.guest),
        "points": [{"load": load, "instructions_per_op": cost.mean, "low": cost.low, "high": cost.high,
                    "ops_by_work_alone_per_million": curve.throughput(load)} for load, cost in curve.costs.items()],
        "missing": {str(load): clean(why) for load, why in curve.missing.items()},
        "refused": clean(curve.refused, 400) or None,
        "law": None if law is None else {
            "rate": _interval(law.rate), "sigma": _interval(law.sigma), "kappa": _interval(law.kappa),
            "peak": _interval(law.peak), "residuals": law.residuals.tolist(),
        },
    }  # fmt: skip


def _interval(value: Interval) -> list[float | None]:
    return [value.value, value.low, value.high]
