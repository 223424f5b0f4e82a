"""Text from a guest, made harmless for the place where it is shown.

Symbols, reports and reasons come from kernels that weaklink did not build; a recording may come from anyone.
"""

from __future__ import annotations

import html
import re
import unicodedata
from typing import Final

LONGEST: Final = 400
"""Characters of one piece of text that are shown."""
SAID: Final = 2000
"""Of a sentence of ours, in which there may be several pieces."""

_MARKDOWN: Final = re.compile(r"([\\`*_{}\[\]()#+!|~$])")


def clean(text: object, longest: int = LONGEST) -> str:
    """Without control, format (bidi, zero-width), surrogate, private and unassigned characters; spaces stay spaces.

    Combining marks are dropped too: stacked on one cell they cover the lines above.
    """
    kept = []
    plain = str(text)
    if len(plain) <= longest and plain.isascii() and plain.isprintable():
        return plain
    for character in plain[: 4 * longest]:
        kind = unicodedata.category(character)
        if kind[0] == "Z" or character in "\t\n\r":
            kept.append(" ")
        elif kind[0] not in "CM":
            kept.append(character)
    shown = "".join(kept)
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def for_html(text: object, longest: int = LONGEST) -> str:
    """For HTML text, attributes, and plotly labels (which read a part of HTML)."""
    return html.escape(clean(text, longest), quote=True)


def for_markdown(text: object, longest: int = LONGEST) -> str:
    """For Markdown text and table cells: no markup, no HTML, no link."""
    plain = clean(text, longest).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    escaped = _MARKDOWN.sub(r"\\\1", plain)
    return escaped.replace("://", ":&#8203;//")


def for_csv(text: object) -> str:
    """For a cell of CSV: what a spreadsheet would take for a formula gets an apostrophe in front."""
    shown = clean(text)
    return f"'{shown}" if shown.lstrip()[:1] in ("=", "+", "-", "@", "|", "%") else shown
