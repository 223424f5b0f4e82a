"""Why a thread stops, if it does: what the ``[switch]`` rules of a kernel's ``hooks.toml`` describe.

A thread stops in the scheduler, and why is said by the way that it takes there: on the way in, or inside, where the
kernel takes it off the queue or puts it back.  The rules; HOW is blocked, preempted, yielded or exited:

    entry                     NAME = HOW: the scheduler's functions, and how if nothing says better
    before, inside            NAME = HOW: functions by which one comes to them, and those that they call
    calls_entry               NAME = HOW: as before, but where one of these calls one of the scheduler's functions
    entry_calls               NAME = HOW: as inside, but where one of the scheduler's functions calls one of these

What does not exist in this kernel is left out; what is missing is a HOW of which nothing is found.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from probes.events import HOWS
from probes.exec.finder import Finder, Place


def find(finder: Finder, rules: Mapping[str, Mapping[str, str]]) -> None:
    """Note the places; without the scheduler's entry there are none: nothing would say when a reason is over."""
    if not rules:
        return
    entry, callers, callees = (rules.get(name, {}) for name in ("entry", "calls_entry", "entry_calls"))
    entries = {at: how for symbol, how in entry.items() for at in finder.entries(symbol)}
    if not entries:
        finder.lacks("stop-entry", f"none of {', '.join(entry)} is in this kernel")
        return
    found = [("stop-entry", at, how) for at, how in entries.items()]
    for kind in ("before", "inside"):
        named = rules.get(kind, {}).items()
        found += [(f"stop-{kind}", at, how) for symbol, how in named for at in finder.entries(symbol)]
    for symbol, how in callers.items():
        found += [("stop-before", at, how) for at in _calls(finder, [symbol], entries)]
    for symbol, how in callees.items():
        found += [("stop-inside", at, how) for at in _calls(finder, entry, finder.entries(symbol))]
    for how in dict.fromkeys(how for rule in rules.values() for how in rule.values()):
        if not any(how == other for _, _, other in found):
            finder.lacks(f"stop {how}", "nothing that says so is in this kernel")
    finder.places |= {at: Place(kind, "", HOWS.index(how)) for kind, at, how in found}


def _calls(finder: Finder, symbols: Iterable[str], targets: Collection[int]) -> list[int]:
    """Give where functions call one of ``targets``, or go on in it."""
    bodies = [body for symbol in symbols for body in finder.functions(symbol)]
    return [site for at, size in bodies for site in finder.code.calls(at, size, targets, jumps=True)]
