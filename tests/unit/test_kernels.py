"""Guests of several kernels: what is compared, what is not and why, who executes less where, and what would be if."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.compare import compare
from analysis.comparison import Comparison, Pair
from analysis.rank import Finding
from analysis.views import html, json, markdown, terminal
from probes import recording
from profiler.errors import NotComparable
from tests import synthetic
from tests.synthetic import Phase

PIE: dict[str, Any] = {"app": {"sha256": "cd" * 32, "target": "linux-pie"}, "qemu": {"machine": "q35"},
                       "guest": {"kind": "osv", "libc_in_kernel": True, "fair": "apps linked for it"}}  # fmt: skip


def allocating(phases: list[Phase], kernel: bool) -> list[Phase]:
    """A phase of allocations, which libc answers, or the kernel where it is the libc."""
    inside = {("malloc", "mm-alloc", "std_malloc"): 105} if kernel else {("malloc", "libc", "malloc"): 80}
    reading = ("clock_gettime", "time", "uptime") if kernel else ("clock_gettime", "libc", "clock_gettime")
    return [*phases, Phase("malloc-one", 307, {"malloc": 1}, {("user", "user", "main"): 9, **inside}),
            Phase("clock", 401, {"clock_gettime": 1}, {("user", "user", "main"): 4, reading: 2000})]  # fmt: skip


def record(root: Path, seeds: int = 1) -> None:
    synthetic.record(root, "linux", allocating(synthetic.tour(), False), range(seeds))
    other = allocating(synthetic.other_kernel(synthetic.tour()), True)
    other[0].work["user", "user", "main"] = 900
    synthetic.record(root, "osv:libc", other, range(seeds), **PIE)


def everything(root: Path, against: str = "linux") -> Comparison:
    return compare([recording.read(place) for place in recording.find(root)], against)


@pytest.fixture
def compared(tmp_path: Path) -> Comparison:
    record(tmp_path)
    return everything(tmp_path)


def phase(pair: Pair, name: str) -> Any:
    (found,) = (one for one in pair.phases if one.name == name)
    return found


# -- what is compared -------------------------------------------------------------------------------------------------


def test_the_apps_own_layers_are_left_out_where_builds_differ(compared: Comparison) -> None:
    (pair,) = compared.pairs
    null = phase(pair, "null-call")
    assert null.instructions.base.mean == pytest.approx(130)  # neither 5 of user nor 6 of libc
    assert null.instructions.other.mean == pytest.approx(20)
    assert null.aside == (("user", pytest.approx(5), pytest.approx(900)), ("libc", pytest.approx(6), pytest.approx(6)))
    assert not {"user", "libc"} & {finding.layer for one in (pair, *pair.phases) for finding in one.findings}
    assert compared.notes[0].startswith("layers user and libc are left out")
    assert "linux: linux-static; osv:libc: linux-pie, its libc is the kernel's" in compared.notes[0]
    assert re.search(r"user/op +5 -> 900 +not compared", terminal.render(compared))


def test_one_build_on_two_kernels_is_compared_whole(tmp_path: Path) -> None:
    synthetic.record(tmp_path, "linux", synthetic.tour())
    synthetic.record(tmp_path, "osv:static", synthetic.other_kernel(synthetic.tour()), qemu={"machine": "q35"})
    compared = everything(tmp_path)
    assert phase(compared.pairs[0], "null-call").instructions.base.mean == pytest.approx(141)
    assert compared.pairs[0].aside == ()
    assert not any("left out" in note for note in compared.notes)
    assert "machines differ: linux on microvm; osv:static on q35" in terminal.render(compared)


def test_one_build_with_other_libraries_is_not_compared_whole(tmp_path: Path) -> None:
    for spec, digest in (("linux", "aa"), ("osv:glibc", "bb")):
        phases = synthetic.tour() if spec == "linux" else synthetic.other_kernel(synthetic.tour())
        synthetic.record(tmp_path, spec, phases, app={"libraries": {"/lib/libc.so.6": digest * 32}})
    note = everything(tmp_path).notes[0]
    assert note.startswith("layers user and libc are left out")
    names = re.findall(r"linux-static with libraries (\w{8})", note)
    assert len(set(names)) == 2


def test_a_kernels_own_copy_of_libc_is_its_own_work(tmp_path: Path) -> None:
    """Where the kernel is not the app's libc, what it does in the layer libc is no libc of the app's."""
    record(tmp_path)
    other = synthetic.other_kernel(synthetic.tour())
    places = synthetic.record(tmp_path, "osv:static", other, qemu={"machine": "q35"})
    ledger = recording.read(places[0])
    tables = {name: ledger.table(name) for name in recording.TABLES}
    rows = tables["ledger"].to_pylist()
    for row in rows:
        if row["operation"] == "openat" and row["layer"] == "vfs":
            row["layer"] = "libc"  # in space kernel
    tables["ledger"] = type(tables["ledger"]).from_pylist(rows, schema=tables["ledger"].schema)
    recording.write(places[0], ledger.manifest, tables, b"")
    (static,) = (pair for pair in everything(tmp_path).pairs if pair.other.spec == "osv:static")
    files = phase(static, "files")
    whole = sum(cost for cell, cost in other[1].work.items() if cell[1] not in ("user", "libc"))
    assert files.instructions.other.mean == pytest.approx(whole, abs=0.1)


def test_runtimes_and_what_they_are_fair_for_stand_above_findings(compared: Comparison) -> None:
    for view in (terminal, markdown, json):
        text = view.render(compared)
        assert "apps linked for it" in text
        assert text.index("apps linked for it") < text.index("more instructions")


@pytest.mark.parametrize(
    ("base", "other", "said"),
    [
        ("l1tf=Not affected;retbleed=Vulnerable", "l1tf=Not affected;retbleed=Mitigation: thunk",
         ("retbleed=Vulnerable", "retbleed=Mitigation: thunk")),
        ("a=Mitigation: x;b=Vulnerable", "off", ("1 active (a)", "none")),
        ("a=Not affected;b=Vulnerable", "none: OSv has none", None),
        ("a=Not affected", "a=Not affected;c=Vulnerable", ("c=not listed", "c=Vulnerable")),
        ("on", "off", ("on", "off")),
        ("tsc", "TSC", None),
        ("a=Not affected;b=Vulnerable;c=Mitigation: x", "hw.y_active=0;b=inactive;hw.z=2",
         ("1 active (c)", "1 active (hw.z)")),
    ],
)  # fmt: skip
def test_of_mitigations_only_what_differs_is_said(tmp_path: Path, base: str, other: str,
                                                  said: tuple[str, str] | None) -> None:  # fmt: skip
    synthetic.record(tmp_path, "linux", synthetic.tour(), guest_reports={"mitigations": base})
    synthetic.record(tmp_path, "linux+x", synthetic.tour(), guest_reports={"mitigations": other})
    assert everything(tmp_path).pairs[0].differing_reports == (() if said is None else (("mitigations", *said),))


def test_two_builds_under_one_guest_are_refused(tmp_path: Path) -> None:
    synthetic.record(tmp_path, "linux", synthetic.tour(), [0])
    synthetic.record(tmp_path, "linux", synthetic.tour(), [1], app={"sha256": "0"})
    synthetic.record(tmp_path, "osv", synthetic.tour(), [0])
    with pytest.raises(NotComparable, match="linux are of different app binaries"):
        everything(tmp_path)


def test_another_libc_under_one_guest_is_refused(tmp_path: Path) -> None:
    for seed, digest in ((0, "aa"), (1, "bb")):
        libraries = {"libraries": {"libc.so.6": digest}}
        for spec in ("linux", "osv"):
            synthetic.record(tmp_path, spec, synthetic.tour(), [seed], app=libraries)
    with pytest.raises(NotComparable, match="are of different libraries of the app"):
        everything(tmp_path)


# -- who executes less where ------------------------------------------------------------------------------------------


def test_all_guests_stand_beside_each_other(tmp_path: Path) -> None:
    record(tmp_path)
    other = allocating(synthetic.audit(synthetic.tour()), False)
    other[2].status, other[2].reason = "unsupported", "no memory"
    synthetic.record(tmp_path, "linux+audit=1", other)
    compared = everything(tmp_path)
    rows = {row.name: row for row in compared.overview.rows}
    order = [guest.spec for guest in compared.guests]
    assert order == ["linux", "linux+audit=1", "osv:libc"]
    figures = [entry.instructions and entry.instructions.other.mean for entry in rows["null-call"].entries]
    assert figures == pytest.approx([130, 350, 20])
    assert rows["null-call"].fewest == 2
    assert rows["files"].fewest == 0
    assert rows["fresh-pages"].entries[1].instructions is None
    assert "no memory" in rows["fresh-pages"].entries[1].why
    whole = compared.overview.whole
    assert whole is not None
    assert whole.name == "4 of 5 phases"
    parts = [rows[name].entries[2].instructions for name in ("null-call", "files", "malloc-one", "clock")]
    ops = [1009, 211, 307, 401]
    assert whole.entries[2].instructions is not None
    assert whole.entries[2].instructions.other.mean == pytest.approx(
        sum(one.other.mean * count for one, count in zip(parts, ops, strict=True) if one)
    )
    text = terminal.render(compared)
    assert "-: fresh-pages on linux+audit=1." in text
    assert re.search(r"fresh-pages: not supported by this guest, linux\+audit=1: no\s+memory", text)


def test_many_guests_are_stacked_and_fit(tmp_path: Path) -> None:
    synthetic.record(tmp_path, "linux", synthetic.tour())
    for number in range(7):
        synthetic.record(tmp_path, f"linux+option_number={number}", synthetic.audit(synthetic.tour()))
    text = terminal.render(everything(tmp_path))
    assert text.split("== linux")[0].count("null-call") == 4  # three tables, and a line of who executes fewest
    assert max(map(len, text.splitlines())) <= 80


def test_the_interval_is_over_the_seeds(tmp_path: Path) -> None:
    phases = synthetic.tour()
    phases[0].jitter["getppid", "process", "__x64_sys_getppid"] = 1009 * 10
    synthetic.record(tmp_path, "linux", synthetic.tour(), range(2))
    phases[1].jitter["openat", "vfs", "path_openat"] = 1
    synthetic.record(tmp_path, "osv", phases, range(2))
    base = synthetic.tour()
    base[1].jitter["openat", "vfs", "path_openat"] = 1
    synthetic.record(tmp_path, "linux", base, range(2))
    (line,) = (one for one in terminal.render(everything(tmp_path)).splitlines() if one.startswith("null-call  "))
    assert line.split() == ["null-call", "141", "146", "x1.04", "±3.4"]  # 141 to 151


# -- the link ---------------------------------------------------------------------------------------------------------


def test_the_costliest_link_is_named_with_what_would_be_without_it(compared: Comparison) -> None:
    (pair,) = compared.pairs
    assert pair.link is not None
    assert (pair.link.operation, pair.link.phase) == ("write", 1)
    assert pair.link.base == pytest.approx((180 + 1500 + 60) * 211)
    assert pair.link.other == pytest.approx((750 * 9 + 30 * 9) * 211)
    assert pair.worst is not None
    assert pair.worst.name == "files"
    would = (pair.instructions.other.mean - pair.link.delta) / pair.instructions.base.mean - 1
    assert f"With this alone as in linux, osv:libc would execute {-would * 100:.0f} % fewer" in pair.links
    assert pair.findings[0].operations == ("write",)
    assert re.sub(r"\s+", " ", terminal.render(compared)).count(pair.links) == 1


def test_bytes_that_are_moved_by_other_means_are_named(tmp_path: Path) -> None:
    """8,192 bytes of each op by string instructions on linux; on the other none, and more instructions."""
    other = synthetic.tour()
    del other[1].bytes["write", "copy", "copy_user"], other[1].work["write", "copy", "copy_user"]
    other[1].work["write", "copy", "unaligned_copy"] = 5000
    synthetic.record(tmp_path, "linux", synthetic.tour())
    synthetic.record(tmp_path, "osv:static", other, guest={"kind": "osv"})
    (copying, *_) = phase(everything(tmp_path).pairs[0], "files").findings
    assert copying.note == "In exchange, osv:static moves or sets 8,192 fewer bytes by string instructions there."
    assert copying.note in copying.sentence


def test_functions_of_either_kernel_are_named_readably(compared: Comparison) -> None:
    first = compared.pairs[0].findings[0]
    assert first.functions[0].name == "osv::writ"
    assert [function.name for function in first.instead] == ["generic_perform_write"]
    assert "osv::writ" in first.sentence
    assert "(linux: generic_perform_write)" in first.sentence
    assert "_ZN" not in terminal.render(compared) + json.render(compared)


def test_what_libc_answers_alone_is_told_apart_where_the_kernel_is_the_libc(compared: Comparison) -> None:
    """Nobody can tell which of the instructions that such a kernel executes for a malloc are its libc's."""
    (pair,) = compared.pairs
    assert pair.apart.startswith("Left out: clock_gettime and malloc, as libc answers them on linux, alone or most")
    assert "834 k on osv:libc" in pair.apart  # 2000 * 401 + 105 * 307
    assert not any({"malloc", "clock_gettime"} & set(one.operations) for one in pair.findings)
    whole = sum(phase(pair, name).instructions.other.mean * ops for name, ops in
                (("null-call", 1009), ("files", 211), ("fresh-pages", 509)))  # fmt: skip
    assert pair.instructions.other.mean == pytest.approx(whole)
    one = phase(pair, "malloc-one")
    assert one.in_libc == (True, True)
    assert one.headline == ("is libc's: 0 instructions of libc and 105 outside it per op, "
                            "and 80 instructions of libc on linux, not compared")  # fmt: skip
    rows = {row.name: row for row in compared.overview.rows}
    assert rows["malloc-one"].fewest is None
    assert rows["malloc-one"].entries[1].in_libc
    assert re.search(r"malloc-one +0 +105 +libc", terminal.render(compared))
    assert "| malloc-one | 0 | 105 (libc) |" in markdown.render(compared).replace("\\", "")


def clocks(root: Path, base: tuple[str, int], other: tuple[str, int], **changes: Any) -> Pair:
    """Two guests that read a clock, each in a layer and at a cost."""
    for spec, (layer, cost) in (("linux", base), ("freebsd", other)):
        work = {("user", "user", "main"): 4, ("clock_gettime", layer, f"read_{spec}"): cost}
        synthetic.record(root, spec, [Phase("clock", 401, {"clock_gettime": 1}, work)],
                         **(changes if spec == "freebsd" else {}))  # fmt: skip
    return everything(root).pairs[0]


def test_a_kernel_that_is_entered_where_another_guest_stays_in_libc_is_a_finding(tmp_path: Path) -> None:
    pair = clocks(tmp_path, ("libc", 60), ("time", 400), app={"sha256": "cd" * 32, "target": "freebsd-static"})
    (finding,) = pair.phases[0].findings
    assert finding.structural == pytest.approx(400)  # it is not split: on linux nothing that is compared is executed
    assert finding.note == "On linux, libc alone answers clock_gettime."
    assert "On linux, libc alone answers clock_gettime." in pair.findings[0].sentence
    assert pair.phases[0].in_libc == (True, False)
    assert pair.phases[0].headline.startswith("executes 400 instructions per op outside libc, where it is libc's on")
    assert pair.worst is None
    assert pair.apart == ""


def move_to_user_space(root: Path) -> None:
    for place in recording.find(root):
        old = recording.read(place)
        tables = {name: old.table(name) for name in recording.TABLES}
        rows = [{**row, "space": "user"} for row in tables["ledger"].to_pylist()]
        tables["ledger"] = type(tables["ledger"]).from_pylist(rows, schema=tables["ledger"].schema)
        recording.write(place, old.manifest, tables, b"")


def test_the_vdso_is_named(tmp_path: Path) -> None:
    pair = clocks(tmp_path, ("time", 60), ("time", 400))
    assert "vDSO" not in pair.findings[0].sentence
    move_to_user_space(tmp_path / "tour" / "linux")
    (pair,) = everything(tmp_path).pairs
    assert pair.findings[0].note == "linux answers clock_gettime in user space (vDSO), without its kernel."
    assert pair.findings[0].note in pair.findings[0].sentence


def test_a_vdso_is_not_held_against_a_libc(tmp_path: Path) -> None:
    """Both answer in user space: one in code that the kernel brings, one in code that the app's libc does."""
    in_user_space = {"app": {"sha256": "cd" * 32, "target": "freebsd-static"}}
    clocks(tmp_path, ("time", 60), ("libc", 30), **in_user_space)
    move_to_user_space(tmp_path / "tour" / "linux")
    synthetic.record(tmp_path, "osv:static", [Phase("clock", 401, {"clock_gettime": 1},
                     {("user", "user", "main"): 4, ("clock_gettime", "time", "uptime"): 90})])  # fmt: skip
    freebsd, osv = everything(tmp_path).pairs
    assert freebsd.phases[0].in_libc == (True, True)
    assert freebsd.findings == ()
    assert freebsd.apart.startswith("Left out: clock_gettime, as libc answers it on freebsd, alone or mostly (24,060 ")
    assert osv.findings[0].change.delta == pytest.approx(30 * 401)  # of this pair it is compared
    row = everything(tmp_path).overview.rows[0]
    assert [entry.in_libc for entry in row.entries] == [False, True, False]


def test_work_that_is_done_later_is_named(tmp_path: Path) -> None:
    later = synthetic.tour()
    later[1].work["deferred:write", "net", "netisr"] = 5000
    synthetic.record(tmp_path, "linux", synthetic.tour())
    synthetic.record(tmp_path, "freebsd", later)
    assert "5,000 of them are work done later" in phase(everything(tmp_path).pairs[0], "files").findings[0].sentence


# -- what would be if -------------------------------------------------------------------------------------------------


def holds(of: Any, findings: tuple[Finding, ...], change: Any, rest: float) -> None:
    """Findings and the rest make the difference; with all findings as in the base, the rest is all that is left."""
    assert sum(one.change.delta for one in findings) + rest == pytest.approx(change.delta, abs=1e-6)
    left = change.other.mean
    for one in findings:
        left -= one.change.delta
        assert one.alone == pytest.approx(change.other.mean - one.change.delta)
        assert one.together == pytest.approx(left)
    if findings:
        assert findings[-1].together - rest == pytest.approx(change.base.mean, abs=1e-6)


CELLS = st.dictionaries(
    st.tuples(st.sampled_from(["read", "write", "openat", "user", "background"]),
              st.sampled_from(["vfs", "fs", "ipc", "libc", "entry"]), st.sampled_from(["f", "g", "h"])),
    st.integers(min_value=0, max_value=100_000), min_size=1, max_size=14,
)  # fmt: skip


@settings(deadline=None, max_examples=25)
@given(CELLS, CELLS, CELLS, CELLS, st.booleans())
def test_findings_and_the_rest_are_the_difference(
    tmp_path_factory: pytest.TempPathFactory, base0: Any, other0: Any, base1: Any, other1: Any, aside: bool
) -> None:
    root = tmp_path_factory.mktemp("if")
    calls = {"read": 1, "write": 2}
    for spec, works in (("linux", (base0, base1)), ("osv", (other0, other1))):
        phases = [Phase(f"p{number}", 50 + number, calls, {("user", "user", "m"): 1, ("read", "fs", "k"): 9, **work})
                  for number, work in enumerate(works)]  # fmt: skip
        synthetic.record(root, spec, phases, **(PIE if aside and spec == "osv" else {}))
    (pair,) = everything(root).pairs
    for one in (pair, *pair.phases):
        holds(one, one.findings, one.instructions, one.rest["instructions"])
        holds(one, one.byte_findings, one.string_bytes, one.rest["rep_bytes"])


def test_a_cumulative_counterfactual_is_said(compared: Comparison) -> None:
    files = phase(compared.pairs[0], "files")
    first, second = files.findings[:2]
    assert files.what_if.startswith("With the first as in linux, osv:libc would execute ")
    relative = second.together / files.instructions.base.mean - 1
    assert f"with the first two, {abs(relative) * 100:.0f} % {'more' if relative > 0 else 'fewer'}" in files.what_if
    assert first.alone == first.together


def test_one_seed_makes_no_claim_about_seeds(tmp_path: Path) -> None:
    record(tmp_path)
    text = terminal.render(everything(tmp_path))
    assert "beyond the seed spread" not in text
    assert "phases differ in this one run." in text
    page = html.render(everything(tmp_path), [recording.read(place) for place in recording.find(tmp_path)])
    assert "phases differ in this one run" in page
