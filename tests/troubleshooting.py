"""Writes docs/troubleshooting.md from profiler/errors.py: ``python -m tests.troubleshooting``."""

from __future__ import annotations

import inspect
import textwrap
from typing import Final

from profiler import errors
from tests.conftest import ROOT

PAGE: Final = ROOT / "docs/troubleshooting.md"

_HEAD: Final = """\
# When something fails

Whatever stops weaklink has a name, an exit code, somebody whose fault it is, and a way out. The terminal shows the
name, what was found, what to do first, and where on this page there is more:

```console
{example}
```

One guest's failure does not stop the others: it is in `campaign.json` with its class and its message, and what the
guest wrote on its console is kept beside the place of its recording, in `seed-N.failed.log`. The same command runs
again what failed and keeps what was recorded. What this machine lacks is said by `weaklink doctor` beforehand.

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
    head = _HEAD.format(example=f"$ weaklink run tour --guests linux --out out\n{example()}".rstrip())
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
