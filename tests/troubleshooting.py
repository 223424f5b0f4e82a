"""Writes docs/troubleshooting.md from profiler/errors.py: ``python -m tests.troubleshooting``."""

from __future__ import annotations

import inspect
import textwrap
from typing import Final

from profiler import errors
from profiler.doctor import host, kvm, memory
from tests.conftest import ROOT

PAGE: Final = ROOT / "docs/troubleshooting.md"

_HEAD: Final = """\
# When something fails

Whatever stops weaklink has a name, an exit code, somebody whose fault it is, and a way out. The terminal shows the
name, what was found, what to do first, and where on this page there is more:

```console
{example}
```

One run's failure does not stop the others: it is in `campaign.json` with its class and its message, and what the
guest wrote on its console is kept beside the place of its recording, in `seed-N.failed.log`. The same command runs
again what failed and keeps what was recorded.

`weaklink doctor` says beforehand what this machine lacks, what that is for, and what to do about it; exit code 1 if
the demo cannot run. Where the demo's kernel is not here yet, it sees whether apt-get reaches its mirror, by fetching
a package of 2 kB, and fetches nothing else. With `--json` it prints one object: `schema` (1), `demo` (can it run?)
and `checks`, each with `area`, `name`, `value` (null if there is none), `needed_for`, `state` (`ok`, `limited` or
`missing`), `reason`, `remedy` and `required` (does the demo need it?).

It wants {memory} MiB of memory (measured in the demo: 484), {addresses:,} MiB of addresses (4,377, most never
touched: mind `ulimit -v`), {cache} MiB for a cache that is empty (56 stay) and {out} MiB where the demo is run (18). A
`/dev/kvm` that opens may still hang every ordinary kernel, so an unmodified one is booted: {kvm:.0f} CPU seconds
without having come to its end is a no. Nothing in weaklink needs KVM yet.

This page is made of the classes in `profiler/errors.py`, as the messages are; `python -m tests.troubleshooting` writes
it anew, and a test holds it equal.
"""


def kinds() -> list[type[errors.WeaklinkError]]:
    """Every class of failures, by exit code."""
    found = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.WeaklinkError)]
    return sorted(found, key=lambda kind: (kind.exit_code, kind.name))


def example() -> str:
    """A failure as the terminal shows it."""
    from profiler.cli.main import told

    return told(errors.NoBoot("not booted after 90 CPU seconds, before the app was ready; the console is empty"))


def page() -> str:
    """The whole page."""
    table = ["| exit code | | whose fault |", "|---|---|---|"]
    for kind in kinds():
        table.append(f"| {kind.exit_code} | [{kind.name}](#{kind.section().partition('#')[2]}) | {kind.blame} |")
    head = _HEAD.format(
        example=f"$ weaklink run tour --guests linux --out out\n{example()}".rstrip(),
        memory=memory.WANTED_MIB, addresses=memory.ADDRESSES_MIB, cache=host.CACHE_MIB, out=host.OUT_MIB,
        kvm=kvm.SECONDS,
    )  # fmt: skip
    return "\n".join([head, *table, "", *map(_section, kinds())])


def _section(kind: type[errors.WeaklinkError]) -> str:
    meaning = [" ".join(part.split()) for part in inspect.getdoc(kind).split("\n\n")]  # type: ignore[union-attr]
    shown = f"{kind.evidence[0].upper()}{kind.evidence[1:]}."
    lines = [f"## {kind.name}", "", f"Exit code {kind.exit_code}; whose fault: {kind.blame}."]
    for paragraph in (*meaning, f"**Shown:** {shown}"):
        lines += ["", textwrap.fill(paragraph, 119, break_long_words=False, break_on_hyphens=False)]
    lines += ["", "**What to do:**", ""]
    for way in kind.ways:
        lines.append(textwrap.fill(f"- {way}", 119, subsequent_indent="  ", break_on_hyphens=False))
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
