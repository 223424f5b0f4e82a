"""A comparison as JSON (``findings.json``): the stable form for other programs.  ``docs/explain.md`` has its fields."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from analysis.compare import Comparison, Guest, Pair, PhaseComparison
from analysis.rank import Finding
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
        "machine": {"qemu": comparison.qemu, "machine": comparison.machine, "cpu": comparison.cpu,
                    "mode": comparison.mode},
        "few_seeds": comparison.few_seeds,
        "notes": list(comparison.notes),
        "guests": [_guest(guest) for guest in comparison.guests],
        "comparisons": [_pair(pair) for pair in comparison.pairs],
    }  # fmt: skip


def _guest(guest: Guest) -> dict[str, Any]:
    return {"spec": guest.spec, "kernel": guest.kernel, "seeds": list(guest.seeds), "different_runs": guest.runs,
            "reports": guest.reports}  # fmt: skip


def _pair(pair: Pair) -> dict[str, Any]:
    names = {phase.number: phase.name for phase in pair.phases}
    return {
        "guest": pair.other.spec,
        "headline": pair.headline,
        "leads": pair.leads,
        "instructions": _change(pair.instructions),
        "string_bytes": _change(pair.string_bytes),
        "differing_phases": [names[number] for number in pair.differing_phases],
        "differing_reports": [dict(zip(("key", "base", "other"), row, strict=True)) for row in pair.differing_reports],
        "not_compared": [{"phase": name, "reason": reason} for name, reason in pair.not_compared],
        "findings": [_finding(finding, names) for finding in pair.in_order],
        "phases": [_phase(phase) for phase in pair.phases],
    }


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
        "left_out_share": dict(zip(("base", "other"), map(_round, phase.left_out), strict=True)),
        "findings": [_finding(finding, {phase.number: phase.name}) for finding in phase.in_order],
    }


def _finding(finding: Finding, names: Mapping[int, str]) -> dict[str, Any]:
    return {
        "cost": "instructions" if finding.cost == "instructions" else "string_bytes",
        "sentence": finding.sentence,
        "phases": [names.get(number, str(number)) for number in finding.phases],
        "operations": list(finding.operations),
        "layer": finding.layer,
        **_change(finding.change),
        "share": _round(finding.share),
        "parts": {"count": _round(finding.count), "unit": _round(finding.unit),
                  "structural": _round(finding.structural)},
        "calls": {"base": _round(finding.base_calls), "other": _round(finding.other_calls)},
        "deferred_delta": _round(finding.deferred),
        "string_bytes_delta" if finding.cost == "instructions" else "instructions_delta": _round(finding.other_cost),
        "functions": [{"name": function.name, "base": _round(function.base), "other": _round(function.other),
                       "delta": _round(function.delta)} for function in finding.functions],
        "more_functions": finding.more_functions,
        "evidence": {"cells": finding.cells, "base_runs": finding.change.base.runs,
                     "other_runs": finding.change.other.runs},
    }  # fmt: skip


def _change(change: Change) -> dict[str, Any]:
    return {
        "base": _spread(change.base),
        "other": _spread(change.other),
        "delta": _round(change.delta),
        "ratio": None if change.ratio is None else _round(change.ratio),
        "seed_spread": _round(change.noise),
        "verdict": change.verdict,
    }


def _spread(spread: Spread) -> dict[str, float]:
    return {"mean": _round(spread.mean), "low": _round(spread.low), "high": _round(spread.high)}


def _round(value: float) -> float:
    """Nine digits: enough for any count, and no trace of how the sum was formed."""
    return float(f"{value:.9g}") + 0.0  # the addition turns -0.0 into 0.0
