"""Make golden recordings and the texts expected of them again: ``python -m tests.golden.refresh [NAME...] [--texts]``.

Boots the real guests (half a minute for ``linux``; minutes for the others, which need the kernels of ``KERNELS`` in
``weaklink guests list``) and replaces the recordings; with ``--texts`` it keeps them and writes only what is computed
from them (docs/traces.md and README.md have some too).  Read the difference before committing it: it is what users
will see.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from analysis.compare import Comparison, compare
from analysis.views import json, terminal
from images import apps
from probes import archive
from probes.recording import Recording
from profiler import recorded
from tests.golden import examples

HERE = Path(__file__).resolve().parent
CLIENT = HERE.parents[1] / "docs" / "redis_client.c"
TRACED = ("null-call", "mutex-contended", "pipe-pingpong", "tcp-pingpong", "thread-create")
KERNELS = ("linux", "osv:libc", "osv:static", "freebsd", "osv:glibc")


@dataclass(frozen=True)
class Golden:
    """One archive of recordings: an app, or a program by its name in PATH.  The first guest is the base.

    ``run`` are further arguments of ``weaklink run``, ``events`` are the phases whose events are kept; None keeps all.
    """

    name: str
    place: Path
    guests: tuple[str, ...]
    seeds: int
    run: tuple[str, ...]
    app: str
    events: tuple[str, ...] | None = None

    @property
    def text(self) -> Path:
        """The file with what ``weaklink explain`` says of it."""
        return HERE / f"{self.name}.txt"

    def recordings(self) -> list[Recording]:
        """All of them."""
        return archive.read(self.place)

    def comparison(self) -> Comparison:
        """All guests against the first."""
        return _comparison(self)

    def explained(self) -> str:
        """What ``weaklink explain`` says of it."""
        return terminal.render(self.comparison()).rstrip("\n") + "\n"

    def record(self) -> None:
        """Boot the guests and keep what they did."""
        from profiler.cli.main import main
        from profiler.cli.recordings import load

        with tempfile.TemporaryDirectory(dir=HERE) as work:
            app = self.app if self.app in apps.names() else str(shutil.which(self.app))
            head = ["run", app, "--guests", ",".join(self.guests), "--seeds", str(self.seeds)]
            if code := main([*head, "--out", f"{work}/out", *self.run]):
                raise SystemExit(code)
            (root,) = (place for place in Path(work, "out").iterdir() if place.is_dir())
            # In the order of the guests: it is that of every table.
            found = sorted(load(root), key=lambda one: (self.guests.index(one.spec), one.seed))
            numbers = {phase["name"]: phase["number"] for phase in found[0].manifest["app"]["phases"]}
            kept = None if self.events is None else [numbers[name] for name in self.events]
            archive.write(self.place, found, root, events=kept)


def _kernels(name: str, app: str, guests: tuple[str, ...], events: tuple[str, ...], *run: str) -> Golden:
    return Golden(name, recorded.HERE / f"{name}.recordings", guests, 8, run, app, events)


GOLDEN = {
    golden.name: golden
    for golden in (
        Golden("linux", HERE / "linux.recordings", ("linux", "linux+audit=1", "linux+init_on_alloc=0"), 2,
               ("--phases", "map-unmap,file-create,tcp-pingpong"), "tour"),
        _kernels("tour", "tour", KERNELS, TRACED),
        _kernels("sqlite", "sqlite", KERNELS, ("lookup",)),
        _kernels("redis", "redis-server", ("linux", "osv:glibc"), ("ping",), "--with", str(CLIENT), "--window",
                 "marker", "--op", "request", "--", "--save", "", "--appendonly", "no"),
    )
}  # fmt: skip
UNEXPLAINED = {
    "crowd": Golden("crowd", HERE / "crowd.recordings", ("linux", "osv:libc", "freebsd"), 2, (), "crowd", ("herd-4",)),
    "mended": Golden("mended", HERE / "mended.recordings", ("linux", "osv:libc", "osv-mended:libc"), 12,
                     ("--phases", "pipe-throughput"), "tour", ("pipe-throughput",)),
}  # fmt: skip
"""Archives that ``weaklink explain`` has no text of here."""
ALL = {**GOLDEN, **UNEXPLAINED}
KEYS = HERE / "findings.keys"
PRICED = HERE / "redis.skylake-sp.txt"
"""What ``weaklink explain`` says of one of them with the prices of one machine."""


@cache
def _comparison(golden: Golden) -> Comparison:
    return compare(golden.recordings(), golden.guests[0])


def keys() -> str:
    """The fields of ``findings.json``, a line each; [] stands for any number of items."""
    every = (path for golden in GOLDEN.values() for path in _paths(json.findings(golden.comparison()), ""))
    return "".join(f"{path}\n" for path in sorted(set(every)))


def priced() -> str:
    """What belongs into ``PRICED``."""
    name, machine, _ = PRICED.name.split(".")
    place = GOLDEN[name].place.relative_to(examples.ROOT)
    return examples.said(f"explain {place} --against {GOLDEN[name].guests[0]} --prices {machine}")


def _paths(value: Any, where: str) -> Iterator[str]:
    if isinstance(value, dict) and not where.endswith("reports"):  # whose keys are the guest's
        for key, item in value.items():
            yield from _paths(item, f"{where}.{key}".removeprefix("."))
    elif isinstance(value, list):
        for item in value:
            yield from _paths(item, f"{where}[]")
    else:
        kind = "number or null" if value is None or type(value) in (int, float) else type(value).__name__
        yield f"{where} {kind}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(ALL)} (all, if none is given)")
    parser.add_argument("--texts", action="store_true", help="keep the recordings")
    chosen = parser.parse_args()
    for name in chosen.names or ALL:
        if not chosen.texts:
            ALL[name].record()
        if name in GOLDEN:
            GOLDEN[name].text.write_text(GOLDEN[name].explained(), encoding="utf-8")
    KEYS.write_text(keys(), encoding="utf-8")
    PRICED.write_text(priced(), encoding="utf-8")
    examples.rewrite()
