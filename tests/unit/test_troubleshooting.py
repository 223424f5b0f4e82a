"""docs/troubleshooting.md says of every failure what the program says of it."""

from __future__ import annotations

import re

from profiler.cli.main import told
from tests import troubleshooting


def test_the_page_is_what_the_classes_say() -> None:
    assert troubleshooting.PAGE.read_text(encoding="utf-8") == troubleshooting.page(), (
        "run: python -m tests.troubleshooting"
    )


def test_every_failure_has_a_section_of_its_own_that_messages_point_to() -> None:
    text = troubleshooting.page()
    anchors = [heading.lower().replace(" ", "-") for heading in re.findall(r"^## (.+)$", text, re.MULTILINE)]
    assert len(anchors) == len(set(anchors)) == len(troubleshooting.kinds()) > 20
    for kind in troubleshooting.kinds():
        assert kind.section().partition("#")[2] in anchors
        assert f"| {kind.exit_code} | [{kind.name}]" in text


def test_every_failure_has_words_of_its_own() -> None:
    """Inherited ones would be those of a bug."""
    kinds = [kind for kind in troubleshooting.kinds() if kind is not troubleshooting.errors.WeaklinkError]
    for kind in kinds:
        for said in ("name", "exit_code", "blame", "evidence", "ways", "__doc__"):
            assert vars(kind).get(said), f"{kind.__name__} has no {said}"
        assert all(isinstance(way, str) and len(way) > 10 for way in kind.ways), kind.__name__
    assert len({kind.name for kind in kinds}) == len(kinds)


def test_without_a_better_hint_the_terminal_says_the_first_way_out() -> None:
    for kind in troubleshooting.kinds():
        failure = kind("what was found")
        assert f"weaklink: {kind.name}: what was found\n  -> {kind.ways[0]}\n" in told(failure)
        assert ("docs/troubleshooting.md#" in told(failure)) == (10 <= kind.exit_code < 30)
        assert "-> another\n" in told(kind("what", hint="another"))
