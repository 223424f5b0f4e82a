"""Make the golden recordings and the texts expected of them again: ``python -m tests.golden.refresh [--texts]``.

Without an option it boots the real guests (half a minute, more if a kernel must be fetched first) and replaces
everything here; with ``--texts`` it keeps the recordings and writes only what is computed from them.  Read the
difference before committing it: it is what users will see.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from analysis.compare import Comparison, compare
from analysis.views import json, terminal
from probes import archive

HERE = Path(__file__).resolve().parent
RECORDINGS = HERE / "linux.recordings"
TEXT = HERE / "explain.txt"
KEYS = HERE / "findings.keys"
GUESTS = ("linux", "linux+audit=1", "linux+init_on_alloc=0")
PHASES = ("map-unmap", "file-create", "tcp-pingpong")
SEEDS = 2


def comparison() -> Comparison:
    """What is recorded here, against the first guest."""
    return compare(archive.read(RECORDINGS), GUESTS[0])


def text() -> str:
    """What ``weaklink explain`` says of it."""
    return terminal.render(comparison()).rstrip("\n") + "\n"


def keys() -> str:
    """The fields of ``findings.json``, a line each; [] stands for any number of items."""
    return "".join(f"{path}\n" for path in sorted(set(_paths(json.findings(comparison()), ""))))


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


def record() -> None:
    """Boot the guests and put what they did here."""
    from profiler.cli.main import main

    with tempfile.TemporaryDirectory(dir=HERE) as work:
        command = ["run", "tour", "--guests", ",".join(GUESTS), "--seeds", str(SEEDS), "--phases", ",".join(PHASES)]
        code = main([*command, "--out", f"{work}/out"])
        if code:
            raise SystemExit(code)
        if main(["pack", f"{work}/out/tour", "--out", str(RECORDINGS)]):
            raise SystemExit(1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--texts", action="store_true", help="keep the recordings")
    if not parser.parse_args().texts:
        record()
    TEXT.write_text(text(), encoding="utf-8")
    KEYS.write_text(keys(), encoding="utf-8")
