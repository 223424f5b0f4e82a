"""A recording whose every string is out to do harm, through every verb and every format of the command line.

It is a real one (``tests/golden/mended.recordings``) in which each name, reason, question and answer of the guest's
was replaced by one that ends in something that a terminal, a browser, Markdown, a spreadsheet or a file may not bear.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from probes import archive, recording
from probes.events import EVENT_KINDS, HOWS, LAYERS, ROLES
from probes.tables import TABLES, strings
from profiler.cli.main import main, parser
from tests import synthetic
from tests.fuzz.harness import UNSAFE
from tests.fuzz.mutate import HOSTILE

PACKED = Path(__file__).parent.parent / "golden" / "mended.recordings"
NASTY = [text for text in HOSTILE if text.strip()]
WORDS = {*EVENT_KINDS, *HOWS, *LAYERS, *ROLES, "user", "kernel", "ok", "unsupported", "failed", "exact", "block"}
"""Words of ours: a recording with another one does not pass ``verify``, and none of them is the guest's."""
KEPT = {"schema", "mode", "kernel_sha256", "sha256", "source_sha256", "map_sha256", "symbols_sha256", "kind", "calls",
        "capabilities", "cpu", "version", "icount", "machine", "tool"}  # fmt: skip
"""What decides whether recordings may be compared at all, and what functions are taken for."""
FORMULA = re.compile(r"[=+\-@|%\t\r]")
NUMBER = re.compile(r"-?\d+(\.\d+)?(e[+-]\d+)?")


class Renamed:
    """Gives every string another one, always the same, and each of ``NASTY`` its turn."""

    def __init__(self) -> None:
        self._given: dict[str, str] = {}

    def __call__(self, text: str) -> str:
        if text in WORDS or not text:
            return text
        if text not in self._given:
            ending = NASTY[len(self._given) % len(NASTY)]
            begins = len(self._given) % 3 == 0  # some begin so: formulas, lists and headings do
            self._given[text] = (f"{ending}{text}" if begins else f"{text}{ending}")[:1200]
        return self._given[text]

    def value(self, value: Any) -> Any:
        """The same of all strings in a value of JSON's."""
        if isinstance(value, str):
            return self(value)
        if isinstance(value, list):
            return [self.value(item) for item in value]
        if isinstance(value, dict):
            return {key: item if key in KEPT else self.value(item) for key, item in value.items()}
        return value

    def reports(self, said: Mapping[str, str]) -> dict[str, str]:
        """What a guest says of itself: the keys come from it too."""
        return {self(key): self(text) for key, text in said.items()}

    def table(self, name: str, table: pa.Table) -> pa.Table:
        """All names of a table; Parquet holds no halves of pairs, so that those are replaced."""
        for column in strings(name):
            at = table.column_names.index(column)
            old = table.column(at).cast(pa.string()).to_pylist()
            new = [self(text).encode("utf-8", "replace").decode() for text in old]
            table = table.set_column(at, column, pa.array(new, pa.string()))
        return table.cast(TABLES[name])


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A campaign of two guests and the name of the first, as it stands in the recording."""
    renamed, root = Renamed(), tmp_path_factory.mktemp("hostile")
    stacks = synthetic.stacks(("outer", "; rm 1", "inner"), (10, 20, 30))
    chosen: dict[str, recording.Recording] = {}
    for one in archive.read(PACKED):
        chosen.setdefault(one.spec, one)
    specs = []
    for one in list(chosen.values())[:2]:
        manifest = renamed.value(json.loads(json.dumps(one.manifest)))
        manifest["guest_reports"] = renamed.reports(one.manifest["guest_reports"])
        manifest["probe"]["stacks"] = True
        manifest["app"]["phases"][0]["calls"] = {
            renamed(k): v for k, v in manifest["app"]["phases"][0]["calls"].items()
        }
        made = {name: renamed.table(name, one.table(name)) for name in TABLES}
        phase = pa.array([manifest["app"]["phases"][0]["number"]] * 3, pa.int16())
        made["frames"] = renamed.table("frames", stacks["frames"])
        made["stacks"] = renamed.table("stacks", stacks["stacks"].set_column(0, TABLES["stacks"].field(0), phase))
        recording.write(root / f"{len(specs)}" / "seed-1", manifest, made, NASTY[0].encode())
        specs.append(manifest["guest"]["spec"])
    failed = [
        {"app": text, "guest": text, "seed": text, "state": "failed", "trace": text,
         "error": {"name": text, "message": f"{text}\n  | {text}", "hint": text}}
        for text in NASTY
    ]  # fmt: skip
    (root / "campaign.json").write_text(json.dumps({"schema": 1, "guests": specs, "runs": failed}))
    return root, specs[0]


def said(capsys: pytest.CaptureFixture[str], *words: str, codes: tuple[int, ...] = (0,)) -> str:
    """What a command writes; its standard error is held to be harmless too."""
    code = main(words)
    out, err = capsys.readouterr()
    assert code in codes, err
    assert not UNSAFE.search(err), err
    return out


# -- what must hold of each format ------------------------------------------------------------------------------------


def harmless_text(out: str) -> None:
    assert not (found := UNSAFE.search(out)), out[max(0, found.start() - 100) : found.end() + 20]
    assert max(map(len, out.splitlines())) < 2500


def harmless_csv(out: str) -> None:
    harmless_text(out)
    head, *rows = csv.reader(io.StringIO(out))
    assert rows
    for row in rows:
        assert len(row) == len(head), row
        for cell in row:
            assert NUMBER.fullmatch(cell) or not FORMULA.match(cell.lstrip()), cell


def harmless_json(out: str) -> None:
    harmless_text(out)
    json.loads(out, parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))


def harmless_markdown(out: str) -> None:
    harmless_text(out)
    plain = re.sub(r"\\[\\`*_{}\[\]()#+!|~$]", "", out)
    assert not re.search(r"<[a-zA-Z/!?]", plain)
    assert not re.search(r"\]\(|https?://|javascript:[^&]*\)", plain)
    assert "`" not in plain.replace("```", "").replace("`weaklink", "") or plain.count("`") % 2 == 0
    for table in re.findall(r"(?:^\|.*\n)+", plain, re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1, table[:1000]


def harmless_folded(out: str) -> None:
    harmless_text(out)
    lines = out.splitlines()
    assert len(lines) == 3
    assert all(re.fullmatch(r"\S+ \d+", line) for line in lines)
    assert [line.count(";") for line in sorted(lines, key=len)] == [0, 1, 2]


class Page(HTMLParser):
    """What a browser would act on."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts = 0
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.scripts += tag == "script"
        self.attributes |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "action", "style")]


def harmless_page(page: str) -> None:
    parts = Page()
    parts.feed(page)
    without_scripts = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)  # ours, and plotly's
    assert not (found := UNSAFE.search(without_scripts)), without_scripts[max(0, found.start() - 100) : found.end()]
    assert not {name for name in parts.attributes if name.startswith("on")}
    assert not parts.tags & {"img", "iframe", "object", "embed", "form", "link", "base", "svg", "b.x"}
    assert all(link.startswith("#") for link in parts.links if link and ":" not in link.partition(";")[0]), parts.links
    assert not re.search("<script>alert|<img", without_scripts)
    assert parts.scripts <= 7
    for data in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page, re.DOTALL):
        assert "<" not in data
        json.loads(data)


Check = Callable[[str], None]
TRACES = ("top", "syscalls", "switches", "locks", "waits", "events")
COMMANDS: list[tuple[tuple[str, ...], Check]] = [
    (("verify", "--all"), harmless_text),
    (("explain", "--against", "BASE"), harmless_text),
    (("explain", "--against", "BASE", "--brief"), harmless_text),
    (("explain", "--against", "BASE", "--format", "json"), harmless_json),
    (("explain", "--against", "BASE", "--format", "markdown"), harmless_markdown),
    *(((verb, "--limit", "300", "--format", form), check) for verb in TRACES
      for form, check in (("text", harmless_text), ("csv", harmless_csv), ("json", harmless_json))),
    (("top", "--by", "operation", "--format", "csv"), harmless_csv),
    (("top", "--stacks", "--format", "csv"), harmless_csv),
    (("switches", "--pairs"), harmless_text),
    (("waits", "--graph"), harmless_text),
    (("waits", "--path", "--format", "csv"), harmless_csv),
    (("waits", "--roots", "--format", "json"), harmless_json),
    (("stacks", "--folded", "--guest", "BASE"), harmless_folded),
    (("packets",), harmless_text),
    (("scale",), harmless_text),
    (("scale", "--format", "json"), harmless_text),
]  # fmt: skip
NOTHING = {"packets", "scale", "verify", "locks"}
"""Verbs that may say that there is nothing to show, or that the recording does not add up (the words are others)."""


@pytest.mark.parametrize(("words", "check"), COMMANDS, ids=[" ".join(words) for words, _ in COMMANDS])
def test_nothing_acts_on_who_reads_it(
    hostile: tuple[Path, str], capsys: pytest.CaptureFixture[str], words: tuple[str, ...], check: Check
) -> None:
    root, base = hostile
    named = [base if word == "BASE" else word for word in words[1:]]
    out = said(capsys, words[0], str(root), *named, codes=(0, 1, 3) if words[0] in NOTHING else (0,))
    if out:
        check(out)


def test_nothing_acts_on_the_page(
    hostile: tuple[Path, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    root, base = hostile
    said(capsys, "report", str(root), "--against", base, "-o", str(tmp_path / "page.html"))
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    harmless_page(page)
    assert "&lt;script&gt;alert(1)" in page, "it is there, as text"


def test_the_page_of_runs_that_failed(
    hostile: tuple[Path, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "campaign.json").write_bytes((hostile[0] / "campaign.json").read_bytes())
    said(capsys, "report", str(tmp_path), "-o", str(tmp_path / "page.html"), codes=(0, 3, 22))
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    harmless_page(page)
    assert "&lt;script&gt;alert(1)" in page


def test_packed_and_unpacked_it_stays_where_it_belongs(
    hostile: tuple[Path, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    harmless_text(said(capsys, "pack", str(hostile[0]), "--out", str(tmp_path / "a.recordings")))
    harmless_text(said(capsys, "unpack", str(tmp_path / "a.recordings"), "--out", str(tmp_path / "out")))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0", "1"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.recordings", "out"]


def test_every_verb_that_reads_recordings_is_tried() -> None:
    choices = next(action.choices for action in parser()._actions if action.choices)
    assert choices is not None
    tried = {words[0] for words, _ in COMMANDS} | {"report", "pack", "unpack"}
    assert {*choices} - tried == {"run", "guests", "maps", "doctor", "demo", "apps"} & {*choices}
