"""What README and docs/traces.md show is what the commands print."""

from __future__ import annotations

import pytest

from tests.golden.examples import examples, said

ALL = examples()


def test_every_trace_command_has_an_example() -> None:
    verbs = ("syscalls", "switches", "locks", "waits", "top", "events", "packets")
    assert {command.split()[0] for command, _ in ALL} == set(verbs)


@pytest.mark.parametrize(("command", "shown"), ALL, ids=[command for command, _ in ALL])
def test_an_example_is_verbatim(command: str, shown: str) -> None:
    assert said(command) == shown, "python -m tests.golden.examples writes them anew"
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert len(shown.splitlines()) > 3
