"""The runs of a campaign that failed, each with its evidence: at the top of the page, or all of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from analysis.views.escape import for_html as safe

MOST: Final = 200
"""Runs that are shown; of more, their number is."""
LONGEST: Final = 4000
"""Characters of evidence that are shown of a run."""


@dataclass(frozen=True)
class Failure:
    """A run that did not become a recording, or a recording that cannot be read; texts may come from a guest."""

    run: str
    name: str
    evidence: str
    hint: str


def render(failures: Sequence[Failure]) -> Iterator[str]:
    """Give a section of the page; nothing where nothing failed.  All text is escaped here."""
    if not failures:
        return
    number = f"{len(failures)} runs" if len(failures) > 1 else "One run"
    yield f'<section><h2 id="failed">{number} failed</h2>\n<p>What follows is of the others only.</p>\n'
    for failure in failures[:MOST]:
        yield f"<h3>{safe(failure.run)}: {safe(failure.name)}</h3>\n<pre>"
        yield "\n".join(safe(line, LONGEST) for line in failure.evidence[:LONGEST].splitlines())
        yield f"</pre>\n<p class=quiet>{safe(failure.hint, LONGEST)}</p>\n" if failure.hint else "</pre>\n"
    if len(failures) > MOST:
        yield f"<p>And {len(failures) - MOST} more.</p>\n"
    yield "</section>\n"


def page(title: str, failures: Sequence[Failure], why: str) -> str:
    """Give a page for a campaign without recordings to compare; ``why`` says what is missing."""
    style = (files("analysis.views") / "report.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{safe(title)}</title><style>{style}</style></head><body>\n<header><h1>{safe(title)}</h1>\n"
        f"<p>{safe(why, LONGEST)}</p></header>\n<main>\n{''.join(render(failures))}</main>\n</body></html>\n"
    )
