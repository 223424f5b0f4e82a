"""A second opinion on a map by names: where the debugging information says that each function is.

A kernel with DWARF gives each function's source file; ``directories.toml`` of its kind says which layer a directory
or file belongs to.  That is another text than the map's rules, written by looking at the source tree instead of at
names, so what both say alike is not one mistake made once.
"""

from __future__ import annotations

import fnmatch
import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib.resources import files
from pathlib import Path

from probes import names
from probes.maps.index import NO_SOURCE, Sources, fold, invert
from probes.maps.layers import UNATTRIBUTED, Map
from probes.maps.rules import Rules, parse
from probes.symbols import DAMAGE
from profiler.errors import UsageError


@dataclass(frozen=True)
class Difference:
    """Where the two disagree; ``instructions`` are those of the recordings, 0 without any."""

    function: str
    source: str
    by_source: str
    by_name: str
    rule: str
    instructions: int


@dataclass(frozen=True)
class Audit:
    """What both opinions say of the functions of one kernel, and of the instructions of recordings.

    ``functions`` have a source file, ``placed`` one that the directories know, ``compared`` a layer by both.  Where a
    file holds several subjects, each of their layers agrees; ``strictly`` only the file's own does.
    """

    functions: int
    placed: int
    compared: int
    agreed: int
    strictly: int
    instructions: int
    instructions_compared: int
    instructions_agreed: int
    instructions_strictly: int
    differences: tuple[Difference, ...]

    @property
    def agreement(self) -> float:
        """The share (0 to 1) of the compared functions that agree; 0 if there are none."""
        return self.agreed / self.compared if self.compared else 0.0

    @property
    def weighted(self) -> float | None:
        """The share (0 to 1) of the compared instructions that agree; None without recordings."""
        if not self.instructions:
            return None
        return self.instructions_agreed / self.instructions_compared if self.instructions_compared else 0.0


@dataclass(frozen=True)
class Tree:
    """What ``directories.toml`` says.

    ``rules`` give each file one layer, ``several`` the others that a file of several subjects may have as well;
    ``top`` is where in absolute paths the source tree begins; ``elsewhere`` are patterns of what headers define.
    """

    rules: Rules
    several: dict[str, frozenset[str]]
    top: str
    elsewhere: tuple[str, ...]


def tree(kind: str) -> Tree:
    """Return what is known of the source tree of a kind of kernel.

    Raises UsageError for kinds that have none, because their map is made from sources itself.
    """
    path = files(__package__) / kind / "directories.toml"
    if not path.is_file():
        raise UsageError(
            f"the map of {kind} has no second opinion: it is made from source files itself",
            hint="audit a kind whose map goes by names, such as osv",
        )
    text = path.read_text()
    data = tomllib.loads(text)
    several = {name: frozenset(layers) for name, layers in data.get("several", {}).items()}
    return Tree(parse(text), several, data.get("top", ""), tuple(data.get("elsewhere", ())))


def of_kernel(path: Path, top: str) -> Sources:
    """Return the source files of the functions of a kernel with DWARF, from ``top`` on; takes 10 to 60 seconds.

    Raises UsageError where the file has no debugging information.
    """
    from elftools.common.exceptions import DWARFError, ELFError

    from probes.maps.sources import of_kernel as read

    try:
        found = read(path)
    except (*DAMAGE, ELFError, DWARFError) as error:
        raise UsageError(
            f"{path.name}: {error or type(error).__name__}"[:500],
            hint="give the kernel's ELF file with debugging information",
        ) from error
    shorter: dict[str, set[str]] = {}
    for source, symbols in found.items():
        _, mark, after = source.partition("/" + top)
        shorter.setdefault(top + after if top and mark else source, set()).update(symbols)
    return invert(shorter)


def audit(known: Map, tree: Tree, sources: Sources, weights: Mapping[str, int]) -> Audit:
    """Compare both opinions on each function of ``sources``; ``weights`` are instructions by symbol.

    A function that only one of them knows is not compared, and neither is what a header defines.  One name in several
    files counts once per file; with weights it does only where all its files are of one layer.
    """
    header = re.compile("|".join(fnmatch.translate(pattern) for pattern in tree.elsewhere) or r"(?!)").match
    weight: dict[str, int] = {}
    for symbol, instructions in weights.items():
        weight[fold(symbol)] = weight.get(fold(symbol), 0) + instructions
    total: Counter[str] = Counter()
    differences = []
    for symbol, paths in sources.items():
        by_name, rule, _ = known.explain(symbol)
        opinions = {path: decided[0] for path in paths if path != NO_SOURCE and (decided := tree.rules.of_source(path))}
        shown = names.readable(symbol)
        total["functions"] += sum(path != NO_SOURCE for path in paths)
        total["placed"] += len(opinions)
        if by_name == UNATTRIBUTED or not opinions or header(shown):
            continue
        instructions = weight.get(symbol, 0) if len(set(opinions.values())) == 1 else 0
        strict = {path for path, layer in opinions.items() if layer == by_name}
        right = strict | {path for path in opinions if by_name in tree.several.get(path, ())}
        total.update(
            compared=len(opinions), agreed=len(right), strictly=len(strict), instructions_compared=instructions
        )
        total["instructions_agreed"] += instructions if right else 0
        total["instructions_strictly"] += instructions if strict else 0
        differences += [
            Difference(shown, path, layer, by_name, rule, instructions)
            for path, layer in opinions.items()
            if path not in right
        ]
    differences.sort(key=lambda one: (-one.instructions, one.by_source, one.by_name, one.function))
    counts = {field.name: total[field.name] for field in fields(Audit) if field.name != "differences"}
    return Audit(**{**counts, "instructions": sum(weight.values())}, differences=tuple(differences))
