"""Where threads wait for locks, and where packets leave and arrive: the rules of [lock] and [packet] in hooks.toml.

    [lock]
      kernel, user = [LOCK]     functions in which a thread waits for a lock of the kernel's, or of the app's
      at = [NAME]               the functions that a LOCK's function calls to wait
      name = FIELD              the field of a kernel's lock that points at its name
      of_app = [OPERATION]      where libc is the kernel's: the kernel's locks are the app's in these
      by_pointer = true         the app's variables are not its locks: they point at them
    [packet]
      sent, received = [PACKET] functions that each packet goes through once
      length = [FIELD]          the field of a packet that has its size, 4 bytes; the first that is found

A LOCK and a PACKET are { function = NAME, argument = N, ... }: whoever enters the function has something to do with
what its Nth argument points at (0 is the first; it may be left out, or be of no use).  A list of them stands for the
first whose function there is.  More of both:

    pointee = BYTES             the argument points at something that has the address there
    as = [FROM, TO, M]          the address is what the function FROM makes of its own argument N before it hands it to
                                TO as argument M
    at = [NAME]                 of a LOCK: entering is no wait, calling one of these from there is; [] is none
    each = true                 of a PACKET: a function may get several at once, and reads the length of each just once

A FIELD is { function = NAME, argument = N, ... }: the only one in what the function's argument N points at
      stored = M                where it stores its argument M
      added = M                 to which it adds its argument M
      widened = true            of which it makes a number of 8 bytes

A wait ends where its function does: at each return, and at each jump out of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from probes.exec import dataflow
from probes.exec.finder import NO_SYMBOL, Finder, Place

# enum guest_register, plugin/guest.h: the registers of dataflow.ARGUMENTS.
_REGISTERS: Final = (5, 4, 3, 2, 8, 9)
# Instead of the offset of a lock's name; the same in plugin/locks.h.
NO_NAME: Final = -1
OF_USER: Final = -2


def locks(finder: Finder, rules: Mapping[str, Any]) -> None:
    """Hook where threads wait for locks, and where such waits end."""
    name = _field(finder, "lock-name", [rules["name"]]) if "name" in rules else None
    for key, disp in (("kernel", NO_NAME if name is None else name), ("user", OF_USER)):
        for rule in _alternatives(finder, "lock", rules.get(key, [])):
            symbol = rule["function"]
            ends = _ends(finder, symbol)
            if isinstance(ends, str):
                finder.lacks(f"lock {symbol}", ends)
                continue
            waits = rule.get("at", rules.get("at", []))
            callees = {at for callee in waits for at, _ in finder.functions(callee)}
            sites = [site for at, size in finder.functions(symbol) for site in finder.code.calls(at, size, callees)]
            if waits and not sites:
                finder.lacks(f"lock {symbol}", "it does not wait")
                continue
            entered = Place("lock-entry" if waits else "lock", symbol, disp, _source(finder, "lock", rule))
            finder.places |= dict.fromkeys(finder.entries(symbol), entered)
            finder.places |= dict.fromkeys(sites, Place("lock-wait", symbol))
            finder.places |= dict.fromkeys(ends, Place("lock-end", symbol))


def packets(finder: Finder, rules: Mapping[str, Any]) -> None:
    """Hook what packets go through."""
    length = _field(finder, "packet-length", rules["length"]) if "length" in rules else None
    for received, key in enumerate(("sent", "received")):
        for rule in _alternatives(finder, "packet", rules.get(key, [])):
            source = _source(finder, "packet", rule)
            source = (*source[:-1], source[-1] + length) if length is not None and source else ()
            where, kind = finder.entries(rule["function"]), "packet"
            if rule.get("each") and length is not None:
                reads = _reads(finder, rule, length)
                where, kind, source = ([reads], "packet-read", ()) if reads else (where, kind, source)
            finder.places |= dict.fromkeys(where, Place(kind, rule["function"], received, source))


def _reads(finder: Finder, rule: Mapping[str, Any], length: int) -> int | None:
    """Give the only instruction of a function that reads the length of its packet."""
    symbol = rule["function"]
    found = [
        reading
        for at, size in finder.functions(symbol)
        for reading in dataflow.read(finder.code, at, size, rule["argument"], length)
    ]
    if len(found) == 1:
        return found[0]
    finder.lacks(f"packet-read {symbol}", f"{len(found)} instructions read the length: only the first of many is seen")
    return None


def _alternatives(finder: Finder, kind: str, rules: Sequence[Any]) -> list[Mapping[str, Any]]:
    """Give the rules whose function there is, of a list of them the first."""
    found = []
    for rule in rules:
        each = rule if isinstance(rule, list) else [rule]
        there = next((one for one in each if finder.entries(one["function"])), None)
        if there:
            found.append(there)
        else:
            finder.lacks(f"{kind} {' or '.join(one['function'] for one in each)}", NO_SYMBOL)
    return found


def _ends(finder: Finder, symbol: str) -> list[int] | str:
    """Give the instructions that leave a function, all of its pieces taken together; or why that is not known."""
    parts = finder.functions(symbol)
    found = []
    for address, size in parts:
        for start, mnemonic, operands in finder.code.listing(address, size):
            word = mnemonic.split()[-1]
            if word.startswith("ret"):
                found.append(start)
            elif word == "jmp" and not operands.startswith("0x"):
                if "*8" not in operands:  # else a switch statement's
                    return f"where it jumps to at {start:#x} is not known"
            elif word.startswith("j") and operands.startswith("0x"):
                target = int(operands, 16)
                if any(first <= target < first + length for first, length in parts):
                    continue
                if word != "jmp":
                    return f"a conditional jump leaves it at {start:#x}"
                found.append(start)
    return found or "it does not return"


def _source(finder: Finder, kind: str, rule: Mapping[str, Any]) -> tuple[int, ...]:
    """Give how an address is found at the function's entry: the register's number, and offsets as in ``Value``."""
    argument = rule.get("argument")
    if argument is None:
        return ()
    if "as" not in rule:
        return (_REGISTERS[argument], *([rule["pointee"], 0] if "pointee" in rule else [0]))
    origin, target, number = rule["as"]
    targets = {at for at, _ in finder.functions(target)}
    for at, size in finder.functions(origin):
        value = dataflow.passed(finder.code, at, size, targets, number)
        if value and value.argument == argument:
            return (_REGISTERS[argument], *value.offsets)
    finder.lacks(f"{kind}-address {rule['function']}", f"{origin} does not hand its argument to {target}")
    return ()


def _field(finder: Finder, what: str, rules: Sequence[Mapping[str, Any]]) -> int | None:
    """Give the offset of a field by the first rule that finds just one."""
    for rule in rules:
        found: set[int] = set()
        for at, size in finder.functions(rule["function"]):
            given = finder.code, at, size, rule["argument"]
            if "stored" in rule:
                found |= dataflow.stored(*given, rule["stored"])
            elif "added" in rule:
                found |= dataflow.added(*given, rule["added"])
            elif rule.get("widened"):
                found |= dataflow.widened(*given)
        if len(found) == 1:
            return found.pop()
    finder.lacks(what, f"not one such field in {', '.join(rule['function'] for rule in rules)}")
    return None
