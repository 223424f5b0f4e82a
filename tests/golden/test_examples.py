"""What README and docs/traces.md show is what the commands print."""

from __future__ import annotations

import re

import pytest

from tests.golden.examples import ROOT, examples, said

ALL = examples()


def test_every_trace_command_has_an_example() -> None:
    verbs = ("syscalls", "switches", "locks", "waits", "top", "events", "packets", "scale")
    assert {command.split()[0] for command, _ in ALL} == set(verbs)


@pytest.mark.parametrize(("command", "shown"), ALL, ids=[command for command, _ in ALL])
def test_an_example_is_verbatim(command: str, shown: str) -> None:
    assert said(command) == shown, "python -m tests.golden.examples writes them anew"
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert len(shown.splitlines()) > 3


def test_figures_in_the_text_are_those_of_the_example() -> None:
    page = (ROOT / "docs" / "waits.md").read_text(encoding="utf-8")
    example = page.partition("## A worked example")[2].partition("\n## ")[0]
    blocks = "".join(re.findall(r"```console\n(.*?)```", example, re.DOTALL))
    prose = re.sub(r"```console\n.*?```", "", example, flags=re.DOTALL)
    figures = re.findall(r"\d{1,3}(?:,\d{3})+", prose)
    assert len(figures) >= 5
    assert [figure for figure in figures if figure not in blocks] == []
