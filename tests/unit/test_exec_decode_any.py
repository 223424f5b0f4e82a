"""Whatever the probe's files hold, they become tables of the right form, or are told as damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from probes.events import EVENTS, LEDGER, PHASES
from probes.exec import decode
from profiler.errors import ProbeLoss
from tests.unit.test_exec_decode import SAID, hooks, summary, write

FUZZ = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
number = st.one_of(st.integers(0, 300), st.integers(-(2**70), 2**70), st.floats(), st.booleans(), st.none(), st.text())
point = st.lists(st.one_of(st.integers(0, 3), number), min_size=3, max_size=5)
anything = st.recursive(number, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


def try_to_decode(out: Path) -> None:
    """Either it is tables of the right form, or a failure of ours."""
    try:
        tables = decode.decode(out, hooks(), SAID)
    except ProbeLoss:
        return
    assert (tables.ledger.schema, tables.phases.schema, tables.events.schema) == (LEDGER, PHASES, EVENTS)
    events = tables.events.read_all()
    for table in (tables.ledger, tables.phases, events):
        table.validate(full=True)
    for table in (tables.ledger, tables.phases, events):
        assert [column for column in table.schema if not column.nullable and table[column.name].null_count] == []
    if tables.capabilities["idle time"]["available"]:
        assert tables.ledger["idle_ns"].null_count == 0
        assert tables.phases.filter(pc.equal(tables.phases["status"], "ok"))["idle_ns"].null_count == 0


@FUZZ
@given(
    cells=st.one_of(st.binary(max_size=256), st.binary(min_size=56, max_size=56 * 3)),
    events=st.one_of(st.binary(max_size=160), st.binary(min_size=32, max_size=32 * 6)),
)
def test_any_bytes(tmp_path: Path, cells: bytes, events: bytes) -> None:
    write(tmp_path)
    (tmp_path / "ledger.bin").write_bytes(cells)
    try_to_decode(tmp_path)
    write(tmp_path)
    (tmp_path / "events.bin").write_bytes(events)
    try_to_decode(tmp_path)


@FUZZ
@given(
    name=st.sampled_from(["ledger.bin", "events.bin", "costly.bin", "summary.json"]),
    at=st.integers(0, 2**16),
    value=st.integers(0, 255),
)
def test_any_single_byte(tmp_path: Path, name: str, at: int, value: int) -> None:
    write(tmp_path)
    data = bytearray((tmp_path / name).read_bytes())
    data[at % len(data)] = value
    (tmp_path / name).write_bytes(data)
    try_to_decode(tmp_path)


@FUZZ
@given(text=st.one_of(st.binary(max_size=200), st.builds(lambda value: json.dumps(value).encode(), anything)))
def test_any_summary(tmp_path: Path, text: bytes) -> None:
    write(tmp_path)
    (tmp_path / "summary.json").write_bytes(text)
    try_to_decode(tmp_path)


@FUZZ
@given(
    changes=st.fixed_dictionaries(
        {},
        optional={
            **dict.fromkeys(("complete", "ledger_written", "clock", "guest", "exact"), anything),
            **dict.fromkeys(("lost_events", "fired", "locks", "threads", "stacks", "vcpus"), anything),
            "points": st.one_of(anything, st.lists(point, max_size=6)),
            "trouble": st.one_of(anything, st.fixed_dictionaries(dict.fromkeys(summary()["trouble"], number))),
        },
    )
)
def test_any_field_of_a_summary(tmp_path: Path, changes: dict[str, Any]) -> None:
    write(tmp_path, about=summary(**changes))
    try_to_decode(tmp_path)
