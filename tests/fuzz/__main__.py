"""Damaged files, made at random from sound ones: what do the readers make of them?

    python -m tests.fuzz [TARGET ...] [--seconds N] [--seed FIRST [--only]] [--keep DIR]

A reader may give a result or a ``WeaklinkError``, in bounded time and memory; anything else is printed with its seed,
and the exit code is 1.  Half of the time goes to seeds from 0 on, the same in every run, half to others, whose first
is printed.  ``TARGET --seed N --only`` does that one again, ``--keep DIR`` leaves its files there.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from tests.fuzz import console, decoder, recordings, symbols
from tests.fuzz.harness import Target, case, fuzz

TARGETS: Final[Mapping[str, Callable[[Path], Target | None]]] = {
    "recording": recordings.target,
    "verbs": recordings.verbs_target,
    "console": console.target,
    "symbols": symbols.target,
    "kernels": symbols.kernels,
    "decoder": decoder.booted,
}
USUAL: Final = ("recording", "verbs", "console", "symbols")
"""What is fuzzed if nothing is named: the others need kernels."""


def main() -> int:
    """Say how it went; 1 if something was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)} (default: {', '.join(USUAL)})"
    )
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--only", action="store_true")
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    names = options.targets or USUAL
    if unknown := set(names) - set(TARGETS):
        parser.error(f"there is no {', '.join(unknown)}: {', '.join(TARGETS)}")
    fresh = 1_000_000 + secrets.randbelow(1 << 40)
    firsts = (0, fresh) if options.seed is None else (options.seed,)
    found = False
    for name in names:
        with tempfile.TemporaryDirectory() as work:
            target = TARGETS[name](Path(work))
            if target is None:
                print(f"{name}: what it needs is not here", flush=True)
                continue
            for first in firsts:
                if options.keep:
                    for file, data in case(target, first)[1].items():
                        (options.keep / file).parent.mkdir(parents=True, exist_ok=True)
                        (options.keep / file).write_bytes(data)
                result = fuzz(target, options.seconds / len(names) / len(firsts), first, options.only)
                print(f"{name}: {result.done} cases from seed {first} on, {result.sound} of them read as sound; the"
                      f" longest, seed {result.longest}, took {result.longest_s:.2f} s of CPU", flush=True)  # fmt: skip
                for seed, failure in result.failures.items():
                    print(f"{name} seed {seed}: {failure}", flush=True)
                found |= bool(result.failures)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
