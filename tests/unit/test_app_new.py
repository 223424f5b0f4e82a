"""An app of the user's, from `weaklink apps new` to what is run of it."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from images import apps
from images.apps import builder, checked
from probes.exec.said import Phase
from profiler import recorder
from profiler.cli import run
from profiler.cli.main import main, parser
from profiler.errors import AppBuild
from profiler.subject import Known
from tests.conftest import ROOT

needs_compiler = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an app that was just begun."""
    monkeypatch.chdir(tmp_path)
    assert main(["apps", "new", "my-app"]) == 0
    return tmp_path / "my-app"


# -- apps new, list, schema


def test_what_is_written_is_an_app_of_two_phases(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(mine)
    assert main(["apps", "new", "my-app"]) == 0
    assert sorted(path.name for path in mine.iterdir()) == ["app.schema.json", "app.toml", "my-app.c"]
    app = apps.read(mine)
    assert (app.name, [phase.name for phase in app.phases]) == ("my-app", ["pipe", "file"])
    assert "starter" not in (mine / "app.toml").read_text() + (mine / "my-app.c").read_text()
    assert json.loads((mine / "app.schema.json").read_text()) == checked.schema()
    assert (mine / "app.toml").read_text().startswith("#:schema ./app.schema.json\n")
    commands = [shlex.split(line)[1:] for line in capsys.readouterr().out.splitlines() if line.startswith("    ")]
    assert [words[0] for words in commands] == ["run", "verify", "explain"]
    asked = parser().parse_args(commands[0])
    subject = run._subject(asked)
    assert isinstance(subject, Known)
    assert (subject.name, asked.guests.split(",")[0]) == ("my-app", "linux")
    assert all(parser().parse_args(words).directory == asked.out for words in commands[1:])


@needs_compiler
def test_what_is_written_compiles_without_a_warning_and_works(mine: Path, tmp_path: Path) -> None:
    text = (mine / "app.toml").read_text().replace('"-Wall"', '"-Werror", "-Wpedantic", "-Wall"')
    (mine / "app.toml").write_text(text)
    app = apps.read(mine)
    program = apps.build(app, "linux-static", tmp_path / "cache")
    done = subprocess.run([program.elf, "--list"], capture_output=True, text=True, timeout=60, check=True)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert rows == [[str(p.number), p.name, str(p.ops), p.op, p.question] for p in app.phases]
    done = subprocess.run([program.elf], capture_output=True, text=True, timeout=60, check=True)
    said = [line.split()[2:6] for line in done.stdout.splitlines() if line.startswith("weaklink: phase ")]
    assert said == [["1", "pipe", "ok", "1009"], ["2", "file", "ok", "127"]]


@needs_compiler
@pytest.mark.parametrize("target", ["linux-static", "linux-pie"])
def test_an_app_may_use_the_mathematical_functions(mine: Path, tmp_path: Path, target: str) -> None:
    source = (mine / "my-app.c").read_text().replace("back != byte", "back != byte || pow(app_folder[0], byte) < 0")
    (mine / "my-app.c").write_text(f"#include <math.h>\n{source}")
    program = apps.build(apps.read(mine), target, tmp_path / "cache")
    done = subprocess.run([program.elf], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.count(" ok ") == 2
    assert any("libm" in name for name in program.libraries) == (target == "linux-pie")


@needs_compiler
def test_what_does_not_compile_is_told_cut_and_safe_to_print(mine: Path, tmp_path: Path) -> None:
    source = (mine / "my-app.c").read_text()
    (mine / "my-app.c").write_text(source + 'int x = "\x1b[2J' + "a" * 5000 + '";\n' + "y;\n" * 50)
    with pytest.raises(AppBuild) as caught:
        apps.build(apps.read(mine), "linux-static", tmp_path / "cache")
    lines = str(caught.value).splitlines()
    assert len(lines) <= 8
    assert all(line.isprintable() and len(line) <= 200 for line in lines)
    assert any(line.startswith(f"my-app.c:{source.count(chr(10)) + 1}:") for line in lines)
    assert str(mine) in caught.value.hint


def test_a_phase_that_failed_is_told_when_it_was_recorded() -> None:
    phases = [
        Phase(1, "a", "ok", 3, 9, ""), Phase(2, "b", "failed", 0, 0, "read: no"),
        Phase(3, "c", "unsupported", 0, 0, "x"),
    ]  # fmt: skip
    assert recorder._warnings([], 0, phases) == ["phase b failed: read: no"]


@pytest.mark.parametrize("name", ["", "My", "1x", "a/b", "..", "-x", "tour", "a\n", "x" * 41, "é"])
def test_a_name_that_is_none_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["apps", "new", "--", name]) == 2
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_over(mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "empty").mkdir()
    before = (mine / "app.toml").stat().st_mtime_ns
    assert main(["apps", "new", "my-app"]) == 2
    assert main(["apps", "new", "other", str(mine)]) == 2
    assert main(["apps", "new", "other", "file"]) == 2
    assert main(["apps", "new", "other", "file/below"]) == 2
    assert capsys.readouterr().err.count("  -> ") == 4
    assert (mine / "app.toml").stat().st_mtime_ns == before
    assert main(["apps", "new", "other", "empty"]) == 0
    assert apps.read(tmp_path / "empty").name == "other"


def test_the_list_has_all_apps_and_phases(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["apps", "list"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    for name in apps.names():
        app = apps.load(name)
        listed = ", ".join(phase.name for phase in app.phases)
        assert f"{name}: {app.description} {len(app.phases)} phases: {listed}" in said


def test_the_schema_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["apps", "schema"]) == 0
    assert json.loads(capsys.readouterr().out) == checked.schema()


# -- what is run of it


@pytest.mark.parametrize("path", ["./my-app", "./my-app/", "my-app/app.toml", "{}", "."])
def test_a_folder_is_named_by_itself_or_its_app_toml(mine: Path, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if path == ".":
        monkeypatch.chdir(mine)
    words = ["run", path.format(mine), "--guests", "linux", "--out", "O", "--phases", "file"]
    subject = run._subject(parser().parse_args(words))
    assert isinstance(subject, Known)
    assert (subject.name, subject.args) == ("my-app", ["--phases", "file"])
    assert [phase["name"] for phase in subject.phases(None)] == ["file"]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["./my-app", "--phases", "what"], 2, "my-app has no phase 'what'"),
        (["./my-app", "--window", "exec"], 2, "an app has no --window"),
        (["./my-app", "--ops", "3"], 2, "an app has no --ops"),
        (["./my-app", "--with", "c.c"], 2, "an app has no --with"),
        (["tour", "--file", "/x=y"], 2, "an app has no --file"),
        (["./my-app", "--", "x"], 2, "./my-app takes no arguments"),
        (["my-app"], 2, "named by its path, as in ./my"),
        (["./nothing/"], 2, "nothing"),
        (["./empty"], 2, "empty has no app.toml"),
        (["./bad"], 21, "bad/app.toml:1: description is missing"),
    ],
)
def test_what_cannot_be_run_is_refused(
    mine: Path, words: list[str], code: int, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/app.toml").write_text('name = "bad"')
    before = sorted(tmp_path.iterdir())
    at = words.index("--") if "--" in words else len(words)
    assert main(["run", *words[:at], "--guests", "linux", "--out", "O", *words[at:]]) == code
    assert says in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


def test_calls_that_nobody_declared_are_not_in_the_manifest(mine: Path) -> None:
    text = (mine / "app.toml").read_text()
    (mine / "app.toml").write_text(re.sub(r"calls = \{ write.*", "", text))
    declared = Known(apps.read(mine)).phases(None)
    assert ["calls" in phase for phase in declared] == [False, True]


# -- docs/apps.md


def rows(about: Mapping[str, Any], definitions: Mapping[str, Any], key: str = "") -> Iterator[str]:
    """The table of keys as docs/apps.md has it."""
    for name, given in about["properties"].items():
        inner = {**definitions.get(given.get("$ref", "").rpartition("/")[2], {}), **given}
        items = inner.get("items", {})
        items = {**definitions.get(items.get("$ref", "").rpartition("/")[2], {}), **items}
        several = "[]" if inner["type"] == "array" and "properties" in items else ""
        each = items if inner["type"] == "array" else inner.get("additionalProperties") or inner
        if "properties" in (items if several else inner):
            must = "tables" if several else "a table"
        else:
            must = each.get("x-must") or f"an integer from {each['minimum']:,} to {each['maximum']:,}"
            must = f"an array; each {must}" if inner["type"] == "array" else must
            must = f"a table; each {must}" if inner["type"] == "object" else must
        must += "" if name in about.get("required", ()) else "; may be left out"
        yield f"| `{key}{name}{several}` | {inner['description']} | {must} |"
        yield from (
            rows(items if several else inner, definitions, f"{key}{name}{several}.")
            if ("properties" in (items if several else inner))
            else ()
        )


def test_the_page_has_each_key_as_the_schema_has_it() -> None:
    page = (ROOT / "docs/apps.md").read_text(encoding="utf-8").splitlines()
    wanted = list(rows(checked.schema(), checked.schema()["definitions"]))
    assert len(wanted) == 28
    assert [line for line in page if line.startswith("| `") and line.count("|") == 4] == wanted


def test_the_page_shows_the_runtime_as_it_is() -> None:
    page = (ROOT / "docs/apps.md").read_text(encoding="utf-8")
    header = (builder._COMMON / "app.h").read_text(encoding="utf-8")
    for name in re.findall(r"`(app_\w+)`", page):
        assert re.search(rf"\b{name}\b", header), name
