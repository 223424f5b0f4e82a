"""A comparison as JSON (``findings.json``): the stable form for other programs.  ``docs/explain.md`` has its fields."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from analysis.comparison import Comparison, Guest, Pair, PhaseComparison
from analysis.costly import Costly
from analysis.cycles import Modelled, Range
from analysis.overview import Row
from analysis.prices import PriceList
from analysis.rank import Finding, Function
from analysis.statistics import Change, Spread

VERSION: Final = 1
"""Changes when a field changes its meaning or goes away; new fields may appear at any time."""


def render(comparison: Comparison) -> str:
    """The comparison as JSON text, ASCII only, so that nothing in it can act on a terminal."""
    return json.dumps(findings(comparison), indent=1, allow_nan=False) + "\n"


def findings(comparison: Comparison) -> dict[str, Any]:
    """The comparison as plain objects."""
    return {
        "findings": VERSION,
        "counts": "instructions, not time",
        "app": comparison.app,
        "against": comparison.base.spec,
        "machine": {"qemu": comparison.qemu, "machine": comparison.base.machine, "cpu": comparison.cpu,
                    "mode": comparison.mode},
        "few_seeds": comparison.few_seeds,
        "notes": list(comparison.notes),
        "price_lists": [_prices(one) for one in comparison.prices],
        "guests": [_guest(guest) for guest in comparison.guests],
        "overview": _overview(comparison),
        "comparisons": [_pair(pair) for pair in comparison.pairs],
    }  # fmt: skip


def _guest(guest: Guest) -> dict[str, Any]:
    return {"spec": guest.spec, "kernel": guest.kernel, "seeds": list(guest.seeds), "different_runs": guest.runs,
            "machine": guest.machine, "runtime": guest.runtime, "fair": guest.fair, "provenance": guest.provenance,
            "reports": guest.reports}  # fmt: skip


def _overview(comparison: Comparison) -> dict[str, Any]:
    specs, table = [guest.spec for guest in comparison.guests], comparison.overview
    return {
        "phases": [_row(row, specs) for row in table.rows],
        "whole": None if table.whole is None else _row(table.whole, specs),
        "fewest": [{"guest": spec, "phases": list(table.fewest_of(position))} for position, spec in enumerate(specs)],
    }


def _row(row: Row, specs: Sequence[str]) -> dict[str, Any]:
    return {
        "name": row.name,
        "fewest": None if row.fewest is None else specs[row.fewest],
        "guests": [
            {"guest": spec, "why_not": entry.why, "in_libc": entry.in_libc,
             "apart": _round(entry.apart),
             "instructions": None if entry.instructions is None else _change(entry.instructions),
             "string_bytes": None if entry.string_bytes is None else _change(entry.string_bytes)}
            for spec, entry in zip(specs, row.entries, strict=True)
        ],
    }  # fmt: skip


def _pair(pair: Pair) -> dict[str, Any]:
    names = {phase.number: phase.name for phase in pair.phases}
    return {
        "guest": pair.other.spec,
        "headline": pair.headline,
        "leads": pair.leads,
        "instructions": _change(pair.instructions),
        "string_bytes": _change(pair.string_bytes),
        "modelled_cycles": [_modelled(one) for one in pair.modelled],
        "worst_ratio": None if pair.worst is None else {"phase": pair.worst.name,
                                                        "ratio": _round(pair.worst.instructions.ratio or 0.0)},
        "costliest_link": None if pair.link is None else {
            "phase": names[pair.link.phase], "operation": pair.link.operation, "base": _round(pair.link.base),
            "other": _round(pair.link.other), "delta": _round(pair.link.delta)},
        "links": pair.links,
        "what_if": pair.what_if,
        "not_explained": {cost: _round(value) for cost, value in pair.rest.items()},
        "left_out_share": dict(zip(("base", "other"), map(_round, pair.left_out), strict=True)),
        "aside": _aside(pair.aside),
        "apart": pair.apart,
        "differing_phases": [names[number] for number in pair.differing_phases],
        "differing_reports": [dict(zip(("key", "base", "other"), row, strict=True)) for row in pair.differing_reports],
        "not_compared": [{"phase": name, "reason": reason} for name, reason in pair.not_compared],
        "findings": [_finding(finding, names) for finding in pair.in_order],
        "phases": [_phase(phase) for phase in pair.phases],
    }  # fmt: skip


def _aside(layers: Sequence[tuple[str, float, float]]) -> list[dict[str, Any]]:
    return [{"layer": layer, "base": _round(base), "other": _round(other)} for layer, base, other in layers]


def _phase(phase: PhaseComparison) -> dict[str, Any]:
    return {
        "number": phase.number,
        "name": phase.name,
        "question": phase.question,
        "op": phase.op,
        "ops": phase.ops,
        "differs": phase.differs,
        "headline": phase.headline,
        "leads": phase.leads,
        "instructions_per_op": _change(phase.instructions),
        "string_bytes_per_op": _change(phase.string_bytes),
        "costly_instructions_per_op": [_costly(one) for one in phase.costly],
        "modelled_cycles_per_op": [_modelled(one) for one in phase.modelled],
        "left_out_share": dict(zip(("base", "other"), map(_round, phase.left_out), strict=True)),
        "aside": _aside(phase.aside),
        "apart": phase.apart,
        "in_libc": dict(zip(("base", "other"), phase.in_libc, strict=True)),
        "what_if": phase.what_if,
        "not_explained": {cost: _round(value) for cost, value in phase.rest.items()},
        "findings": [_finding(finding, {phase.number: phase.name}) for finding in phase.in_order],
    }


def _finding(finding: Finding, names: Mapping[int, str]) -> dict[str, Any]:
    return {
        "cost": "instructions" if finding.cost == "instructions" else "string_bytes",
        "sentence": finding.sentence,
        "phases": [names.get(number, str(number)) for number in finding.phases],
        "operations": list(finding.operations),
        "layer": finding.layer,
        "layers": [{"layer": name, "delta": _round(delta)} for name, delta in finding.layers],
        "one_cause_by": list(finding.evidence),
        **_change(finding.change),
        "certainty": finding.certainty,
        "share": _round(finding.share),
        "parts": {"count": _round(finding.count), "unit": _round(finding.unit),
                  "structural": _round(finding.structural)},
        "calls": {"base": _round(finding.base_calls), "other": _round(finding.other_calls)},
        "deferred_delta": _round(finding.deferred),
        "string_bytes_delta" if finding.cost == "instructions" else "instructions_delta": _round(finding.other_cost),
        "costly_instructions": [_costly(one) for one in finding.costly],
        "modelled_cycles": [_modelled(one) for one in finding.modelled],
        "answered_by": {"base": finding.places[0], "other": finding.places[1]},
        "what_if": {"alone": _round(finding.alone), "together": _round(finding.together)},
        "functions": [_function(function) for function in finding.functions],
        "instead": [_function(function) for function in finding.instead],
        "more_functions": finding.more_functions,
        "evidence": {"cells": len({cell[:3] for cell in finding.cells}), "base_runs": finding.change.base.runs,
                     "other_runs": finding.change.other.runs},
    }  # fmt: skip


def _costly(one: Costly) -> dict[str, Any]:
    change = one.change
    return {"instruction": one.instruction, "base": _round(change.base.mean), "other": _round(change.other.mean),
            "delta": _round(change.delta)}  # fmt: skip


def _prices(one: PriceList) -> dict[str, Any]:
    return {
        "name": one.name,
        "machine": one.machine,
        "cycles": [{"class": name, "low": _end(price.low), "high": _end(price.high), "says": price.says,
                    "measured_on": price.measured_on,
                    "sources": [{"what": one.sources[key].what, "address": one.sources[key].address}
                                for key in price.sources]} for name, price in one.prices.items()],
    }  # fmt: skip


def _modelled(one: Modelled) -> dict[str, Any]:
    decider = one.decider
    return {
        "machine": one.machine, "base": _range(one.base), "other": _range(one.other), "delta": _range(one.delta),
        "sign": one.sign,
        "decided_by": None if decider is None else {
            "class": decider.name, "delta": _round(decider.delta),
            "certain_below": None if decider.below is None else _round(decider.below),
            "certain_above": None if decider.above is None else _round(decider.above)},
        "no_upper_price": [{"class": name, "base": _round(base), "other": _round(other)}
                           for name, (base, other) in one.unlimited.items()],
    }  # fmt: skip


def _range(one: Range) -> dict[str, float | None]:
    return {"low": _end(one.low), "high": _end(one.high)}


def _end(value: float) -> float | None:
    """None where there is no end."""
    return None if math.isinf(value) else _round(value)


def _function(function: Function) -> dict[str, Any]:
    return {"name": function.name, "base": _round(function.base), "other": _round(function.other),
            "delta": _round(function.delta)}  # fmt: skip


def _change(change: Change) -> dict[str, Any]:
    return {
        "base": _spread(change.base),
        "other": _spread(change.other),
        "delta": _round(change.delta),
        "ratio": None if change.ratio is None else _round(change.ratio),
        "seed_spread": _round(change.noise),
        "verdict": change.verdict,
        "few_seeds": change.few,
        "interval": None if change.interval is None else _range(Range(*change.interval)),
    }


def _spread(spread: Spread) -> dict[str, Any]:
    return {"mean": _round(spread.mean), "low": _round(spread.low), "high": _round(spread.high),
            "modes": [{"mean": _round(mode.mean), "runs": mode.runs} for mode in spread.modes]}  # fmt: skip


def _round(value: float) -> float:
    """Nine digits: enough for any count, and no trace of how the sum was formed."""
    return float(f"{value:.9g}") + 0.0  # the addition turns -0.0 into 0.0
