"""``weaklink maps``: what a kernel's functions are taken for, and what its debugging information says of that."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from probes.maps.audit import Audit, Difference

_SHOWN: Final = 6  # functions of each pair of layers that are named without --all


def add(verbs: Any) -> None:
    """Declare the verbs."""
    parser: argparse.ArgumentParser = verbs.add_parser(
        "maps", help="which function is in which layer, and is that right?", description="The layers of functions."
    )
    inner = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    checking = inner.add_parser(
        "audit", help="hold a map against a kernel's debugging information",
        description="Compares the layers that a map gives by names with those of the source directories that the"
        " kernel's debugging information names, and lists where they differ. Exits with 1 if too few agree.",
    )  # fmt: skip
    checking.add_argument("kind", metavar="KIND", help="the kind of kernel, such as osv")
    checking.add_argument(
        "--symbols", required=True, type=Path, metavar="ELF", help="the kernel with debugging information"
    )
    checking.add_argument(
        "--ledger", type=Path, metavar="DIR", help="weigh functions by the instructions in the recordings there"
    )
    checking.add_argument(
        "--at-least", type=float, default=0.9, metavar="SHARE", help="share that must agree (default: %(default)s)"
    )
    checking.add_argument("--all", action="store_true", help="name every function that differs")
    checking.set_defaults(run=audit)
    showing = inner.add_parser(
        "show", help="the layer of functions and the rule that decides", description="One line per function."
    )
    showing.add_argument("kind", metavar="KIND", help="the kind of kernel, such as linux")
    showing.add_argument("names", nargs="+", metavar="NAME", help="a symbol, mangled or not")
    showing.set_defaults(run=show)


def show(arguments: argparse.Namespace) -> int:
    """Do ``show``; 0."""
    from probes import names
    from probes.maps import load
    from profiler.machine.console import visible

    known = load(arguments.kind)
    for name in arguments.names:
        layer, rule, source = known.explain(name)
        print(visible(f"{names.readable(name)}  {layer}  ({rule}{', ' + source if source else ''})"))
    return 0


def audit(arguments: argparse.Namespace) -> int:
    """Do ``audit``; 0 if both opinions agree well enough, else CheckFailed."""
    from probes.maps import load
    from probes.maps.audit import audit as compare
    from probes.maps.audit import of_kernel, tree
    from profiler.errors import CheckFailed, NotComparable

    known, source_tree = load(arguments.kind), tree(arguments.kind)
    weights = _weights(arguments.kind, arguments.ledger) if arguments.ledger else {}
    found = compare(known, source_tree, of_kernel(arguments.symbols, source_tree.top), weights)
    if 2 * found.placed < found.functions or not found.compared:
        raise NotComparable(
            f"of {found.functions:,} functions of {arguments.symbols.name}, {found.placed:,} are in directories that a"
            f" kernel of kind {arguments.kind} has",
            hint=f"is it a kernel of kind {arguments.kind}?",
        )
    _report(arguments.kind, found, everything=arguments.all)
    if min(found.agreement, 1.0 if found.weighted is None else found.weighted) < arguments.at_least:
        raise CheckFailed(
            f"less than {arguments.at_least:.0%} agree", hint="read the list: which of the two is right there?"
        )
    return 0


def _weights(kind: str, root: Path) -> dict[str, int]:
    """Kernel instructions by function, of all recordings of that kind of kernel at or below ``root``."""
    from profiler.cli.recordings import load
    from profiler.errors import NotComparable

    weights: dict[str, int] = {}
    for recording in load(root):
        if recording.manifest["guest"]["kind"] == kind:
            ledger = recording.ledger
            counts = ledger[ledger["space"] == "kernel"].groupby("function", observed=True)["instructions"].sum()
            for function, count in counts.items():
                weights[str(function)] = weights.get(str(function), 0) + int(count)
    if not weights:
        raise NotComparable(f"no recording of a kernel of kind {kind} in {root}", hint="audit without --ledger")
    return weights


def _report(kind: str, found: Audit, *, everything: bool) -> None:
    """Print the shares, then the differences by pair of layers, those with the most instructions first."""
    print(f"{kind}: {found.functions:,} functions with a source file")
    print(
        f"  {found.compared:,} have a layer by name and by directory; {found.agreement:.1%} of them agree"
        f" ({found.strictly / found.compared:.1%} if each file is of one subject)"
    )
    if found.weighted is not None:
        share = found.instructions_compared / found.instructions
        strictly = found.instructions_strictly / max(1, found.instructions_compared)
        print(
            f"  {share:.1%} of {found.instructions:,} recorded kernel instructions are in those;"
            f" {found.weighted:.1%} of them agree ({strictly:.1%})"
        )
    pairs = [list(group) for _, group in groupby(sorted(found.differences, key=_pair), key=_pair)]
    pairs.sort(key=lambda pair: (-sum(one.instructions for one in pair), -len(pair), _pair(pair[0])))
    for pair in pairs:
        count = sum(one.instructions for one in pair)
        heavy = f", {count:,} instructions" if count else ""
        print(f"\n{pair[0].by_source} by directory, {pair[0].by_name} by name: {_count(len(pair))}{heavy}")
        for line in _named(pair if everything else pair[:_SHOWN]):
            print(f"    {line}")
        if not everything and len(pair) > _SHOWN:
            print(f"    and {len(pair) - _SHOWN:,} more (--all)")


def _count(number: int) -> str:
    return "1 function" if number == 1 else f"{number:,} functions"


def _pair(one: Difference) -> tuple[str, str]:
    return one.by_source, one.by_name


def _named(differences: Iterable[Difference]) -> Iterable[str]:
    from profiler.machine.console import visible

    for one in differences:
        heavy = f"  {one.instructions:,}" if one.instructions else ""
        yield visible(f"{one.function}  {one.source}  ({one.rule}){heavy}")
