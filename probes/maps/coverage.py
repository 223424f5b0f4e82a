"""How much of what ran a map can name: ``python -m probes.maps.coverage linux LEDGER``.

LEDGER is a recording's ledger.parquet, or a CSV with the columns ``phase``, ``function`` and ``instructions``; of a
ledger only the kernel's instructions count.  Without LEDGER every function of the index (Linux alone has one) counts as
one instruction and its top source directory is the phase.  Exit code 1 where a phase is below the share asked for.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from probes.maps import Map, load
from probes.maps.layers import UNATTRIBUTED

if TYPE_CHECKING:
    import pandas as pd

_TOPS = ("net/core", "net/ipv4", "arch/x86")


def ledger(path: Path) -> pd.DataFrame:
    """Read phase, function and instructions of the kernel from a ledger (Parquet) or a CSV."""
    import pandas as pd

    if path.suffix == ".parquet":
        columns = ["phase", "function", "instructions", "space"]
        table = pd.read_parquet(path, columns=columns)
        table = table[table["space"] == "kernel"]
    else:
        table = pd.read_csv(path)
    return table[["phase", "function", "instructions"]]


def index(known: Map) -> pd.DataFrame:
    """Return one instruction per function and source directory of the map's index."""
    import pandas as pd

    rows = [
        (next((top for top in _TOPS if path.startswith(top + "/")), path.partition("/")[0]), symbol, 1)
        for symbol, paths in known.sources.items()
        for path in paths
    ]
    return pd.DataFrame(rows, columns=["phase", "function", "instructions"])


def shares(known: Map, table: pd.DataFrame) -> pd.DataFrame:
    """Return per phase: ``instructions``, ``named`` (0 to 1) and ``worst``, the unattributed functions by weight."""
    import pandas as pd

    functions = table["function"].unique().tolist()
    layer = dict(zip(functions, known.layers(functions).tolist(), strict=True))
    named = table["function"].map(layer) != UNATTRIBUTED
    rows = {}
    for phase, part in table.groupby("phase"):
        total = int(part["instructions"].sum())
        lost = part.loc[~named[part.index]].groupby("function")["instructions"].sum().sort_values(ascending=False)
        worst = ", ".join(f"{name} {count}" for name, count in lost.head(8).items() if count > 0)
        rows[phase] = total, 1.0 - float(lost.sum()) / total if total else 1.0, worst
    return pd.DataFrame.from_dict(rows, orient="index", columns=["instructions", "named", "worst"])


def contradictions(known: Map) -> list[tuple[str, str, list[str]]]:
    """Return (layer by source, layer by symbol, symbols) where a rule for symbols overrules every source's rule."""
    found: dict[tuple[str, str], list[str]] = {}
    for symbol, paths in known.sources.items():
        layer, rule, _ = known.explain(symbol)
        sources = {decided[0] for path in paths if (decided := known.rules.of_source(path))}
        if rule.startswith(("symbol", "pattern")) and sources and layer not in sources:
            found.setdefault((" or ".join(sorted(sources)), layer), []).append(symbol)
    return [(*pair, sorted(found[pair])) for pair in sorted(found)]


def main() -> int:
    """Print the named share of each phase and what is not named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", help="the kind of kernel, such as linux")
    parser.add_argument("ledger", nargs="?", type=Path, help="ledger.parquet, or a CSV")
    parser.add_argument("--at-least", type=float, default=0.97, help="share that must be named (default: %(default)s)")
    parser.add_argument("--contradictions", action="store_true", help="list symbols that are not in their file's layer")
    arguments = parser.parse_args()
    known = load(arguments.kind)
    if not known.sources and (arguments.contradictions or not arguments.ledger):
        parser.error(f"the map of {arguments.kind} has no index of sources: give a LEDGER")
    if arguments.contradictions:
        for by_source, by_symbol, symbols in contradictions(known):
            print(f"{by_source} -> {by_symbol}: {' '.join(symbols)}")
        return 0
    found = shares(known, ledger(arguments.ledger) if arguments.ledger else index(known))
    for phase, row in found.iterrows():
        print(f"{phase!s:>12}  {row['named']:8.3%} of {row['instructions']:>12}  {ascii(row['worst'])[1:-1]}")
    return int((found["named"] < arguments.at_least).any())


if __name__ == "__main__":
    raise SystemExit(main())
