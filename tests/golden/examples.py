"""Examples on pages: commands, and below each what it says of the recordings that come with weaklink."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = tuple(ROOT / page for page in ("docs/traces.md", "docs/waits.md", "docs/scaling.md", "docs/attribution.md",
                                       "README.md"))  # fmt: skip
_EXAMPLE = re.compile(r"```console\n\$ weaklink ([^\n]*)\n(.*?)```", re.DOTALL)


def examples() -> list[tuple[str, str]]:
    """Each command, and what the page says that it prints."""
    return [example for page in PAGES for example in _EXAMPLE.findall(page.read_text(encoding="utf-8"))]


def said(command: str) -> str:
    """What a command prints."""
    from profiler.cli.main import main

    with contextlib.chdir(ROOT), contextlib.redirect_stdout(io.StringIO()) as out:
        code = main(shlex.split(command))
    return out.getvalue() if code == 0 else f"exit {code}\n"


def rewrite() -> None:
    """Put into the pages what the commands print now."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        half = page.with_suffix(".half")
        half.write_text(
            _EXAMPLE.sub(lambda found: f"```console\n$ weaklink {found[1]}\n{said(found[1])}```", text), "utf-8"
        )
        os.replace(half, page)


if __name__ == "__main__":
    rewrite()
