"""app.toml: the schema is what the reader holds to, and what is wrong is said with file, line and key."""

from __future__ import annotations

import copy
import json
import os
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from images import apps
from images.apps import checked, folders
from images.apps.targets import TARGETS
from profiler.errors import AppBuild
from tests.conftest import ROOT
from tests.unit.test_app_places import every

OWN = sorted([*ROOT.glob("images/apps/*/app.toml"), *ROOT.glob("tests/*/apps/*/app.toml")])

GOOD = """\
name = "mine"
description = "for a test"
sources = ["a.c", "b.c"]
cflags = ["-O2", "-DWHAT=\\"x y\\""]
system_sources.linux = ["l.c"]
system_sources.freebsd = ["f.c"]

[source]
package = "some.package"
version = "1.2"
sha256 = "DIGEST"

[[source.file]]
path = "some/b.c"
name = "b.c"
sha256 = "DIGEST"
until = "/* end */"

[[phase]]
number = 1
name = "first"
question = "What?"
op = "op"
ops = 7
calls = { read = 7 }
varies = ["write"]
scales = { series = "s", unit = "threads", load = 2 }
""".replace("DIGEST", "0" * 64)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine").mkdir()
    for name in ("a.c", "l.c", "f.c"):
        (tmp_path / "mine" / name).write_text("int x;\n")
    (tmp_path / "mine" / "app.toml").write_text(GOOD)
    return tmp_path / "mine"


def told(folder: Path, text: str | bytes) -> list[str]:
    """What is said of an app.toml, one mistake each, without the folder's path."""
    (folder / "app.toml").write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(AppBuild) as caught:
        apps.read(folder)
    assert caught.value.hint
    lines = str(caught.value).replace(f"{folder}/", "").splitlines()
    return lines[1:] if lines[0].endswith(" mistakes") else lines


# -- the schema and the reader


def test_the_schema_is_one_that_editors_read() -> None:
    Draft7Validator.check_schema(checked.schema())


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.parent.name)
def test_all_apps_of_ours_are_what_the_schema_wants(path: Path) -> None:
    Draft7Validator(checked.schema()).validate(tomllib.loads(path.read_text(encoding="utf-8")))
    assert apps.read(path.parent).name


def test_a_good_one_is_read_whole(folder: Path) -> None:
    app = apps.read(folder)
    assert (app.sources, app.cflags[1]) == (("a.c", "b.c"), '-DWHAT="x y"')
    assert app.system_sources == {"linux": ("l.c",), "freebsd": ("f.c",)}
    (phase,) = app.phases
    assert (phase.calls, phase.varies, phase.scales) == (
        {"read": 7},
        {"write"},
        apps.describe.Scales("s", "threads", 2),
    )


def test_every_system_that_apps_are_built_for_may_have_sources() -> None:
    known = checked.schema()["properties"]["system_sources"]["properties"]
    assert set(known) == {target.system for target in TARGETS.values()}


WRONG = (
    None,
    True,
    3,
    -1,
    3.0,
    1 << 70,
    "",
    "x\n",
    "-x",
    "..",
    "\x1b[1m",
    "a" * 500,
    [],
    {},
    [1, "a"],
    ["a", "a"],
    {"a": 1},
)


def test_what_the_schema_refuses_the_reader_refuses() -> None:
    """Every place of a document with every wrong value: against a validator of which nothing is ours."""
    good, published = tomllib.loads(GOOD), Draft7Validator(checked.schema())
    refused = 0
    for key, _ in every(good):
        for value in (*WRONG, None):
            wrong = copy.deepcopy(good)
            inside: Any = wrong
            for part in key[:-1]:
                inside = inside[part]
            if value is None:
                del inside[key[-1]]
            else:
                inside[key[-1]] = value
            mistakes = list(checked.schema_mistakes(wrong))
            if not published.is_valid(wrong):
                refused += 1
                assert mistakes, (key, value)
            assert all(said and "\n" not in said and said.isprintable() for _, said in mistakes)
            if mistakes and value is not None:
                assert all(one[: len(key)] == key for one, _ in mistakes), (key, value, mistakes)
    assert refused > 300


# -- what is said


MISTAKES = [
    ("number = 1", 'number = "one"', '20: phase[0].number: must be an integer from 0 to 199, not "one"'),
    ("number = 1", "number = 1.0", "20: phase[0].number: must be an integer from 0 to 199, not 1.0"),
    ("number = 1", "number = true", "20: phase[0].number: must be an integer from 0 to 199, not true"),
    ("number = 1", "number = 0x" + "f" * 5000, "20: phase[0].number: a number of more than 64 bits"),
    ("ops = 7", "opps = 7", "19: phase[0]: ops is missing|24: phase[0].opps: there is no such key; ops?"),
    ("ops = 7", "ops = 7\nzzz = 1", "25: phase[0].zzz: there is no such key; there are: number, name, question, op,"
     " ops, calls, varies, scales"),
    ("ops = 7", "ops = 7\ncflags = []", "25: phase[0].cflags: does not belong here, but at the top, above the first"
     " line in square brackets"),
    ('name = "mine"', "", "1: name is missing"),
    ('name = "mine"', 'name = "../mine"', '1: name: must be a word of lower-case letters, digits and -, of at most 40,'
     ' that begins with a letter, not "../mine"'),
    ('"for a test"', '"a\\nb"', '2: description: must be one line of text, of at most 200 characters, not "a\\nb"'),
    ('["a.c", "b.c"]', '"a.c"', '3: sources: must be an array, as in [1, 2], not "a.c"'),
    ('["a.c", "b.c"]', "[]", "3: sources: must have at least 1, not 0"),
    ('["a.c", "b.c"]', '[\n  "a.c",\n  "b.c",\n  "a.c",\n]', "6: sources[2]: is there twice"),
    ('"-O2"', '"-fplugin=./x.so"', "4: cflags[0]: must be an option -std="),
    ('"-O2"', '"-Wl,-o,/x"', "4: cflags[0]: must be an option -std="),
    ('"-O2"', '"@x"', "4: cflags[0]: must be an option -std="),
    ('"-O2"', '"-wrapper"', "4: cflags[0]: must be an option -std="),
    ('"-O2"', '"-fdump-tree-all=/x"', "4: cflags[0]: must be an option -std="),
    ('.linux', ".linus", "5: system_sources.linus: there is no such key; linux?"),
    ("{ read = 7 }", "{ read = -7 }", "25: phase[0].calls.read: must be an integer from 0 to 1000000000000000, not -7"),
    ("{ read = 7 }", '{ "re ad" = 7 }', '25: phase[0].calls."re ad": must be the name of an operation'),
    ('["write"]', '["write", "read"]', "26: phase[0].varies[1]: read is in calls as well"),
    ("load = 2", "load = 0", "27: phase[0].scales.load: must be an integer from 1 to 1000000000, not 0"),
    ("scales = {", "scales = 2 #", "27: phase[0].scales: must be a table, not 2"),
    ('sha256 = "00', 'sha256 = "0', "11: source.sha256: must be a SHA-256: 64 digits 0-9 a-f"),
    ("[[phase]]", "[[phases]]", "1: phase is missing|19: phases: there is no such key; phase?"),
    ("[[phase]]", "[phase]", "19: phase: must be an array, as in [1, 2], not a table"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "instead", "says"), MISTAKES)
def test_a_mistake_is_told_with_file_line_and_key(folder: Path, what: str, instead: str, says: str) -> None:
    found = told(folder, GOOD.replace(what, instead, 1))
    assert len(found) == len(says.split("|"))
    for line, wanted in zip(found, says.split("|"), strict=True):
        assert line.startswith(f"app.toml:{wanted}")


def test_all_mistakes_are_told_at_once_in_order(folder: Path) -> None:
    second = GOOD[GOOD.index("[[phase]]") :].replace("ops = 7", 'ops = "many"').replace('["write"]', "[7]")
    assert told(folder, GOOD.replace('"b.c"]', '"b.c", "none.c"]') + second + "extra = 1\n") == [
        "app.toml:3: sources[2]: none.c is not there",
        "app.toml:29: phase[1].number: 1 is phase[0]'s already",
        'app.toml:30: phase[1].name: "first" is phase[0]\'s already',
        'app.toml:33: phase[1].ops: must be an integer from 1 to 1000000000000000, not "many"',
        "app.toml:35: phase[1].varies[0]: must be the name of an operation, as in read or pthread_mutex_lock, not 7",
        "app.toml:37: phase[1].extra: there is no such key; there are: number, name, question, op, ops, calls, varies,"
        " scales",
    ]


def test_of_very_many_mistakes_the_first_are_told(folder: Path) -> None:
    found = told(folder, GOOD.replace('["a.c", "b.c"]', "[" + "1," * 20_000 + "]"))
    assert (len(found), found[-1]) == (21, "and 980 or more others")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name = \n", "app.toml:1:8: Invalid value"),
        ("\n\n  name 3\n", "app.toml:3:8: Expected '=' after a key in a key/value pair"),
        ('é = 1\n"ok" = "\\q"\n', "app.toml:1:1: Invalid statement"),
        ("a = [1,\n2\n", "app.toml:2:2: Unclosed array"),
        ("a = 1\r\na = 2\r\n", "app.toml:2:6: Cannot overwrite a value"),
        (b"a = 1\nb = '\xff'\n", "app.toml:2: a byte that is no UTF-8"),
        ("a = " + "[" * 30_000, "app.toml: arrays or tables are nested too deeply"),
        ("a" + ".b" * 20_000 + " = 1", "app.toml: a key has more than 32 parts"),
        ("a = " + "9" * 20_000, "app.toml: Exceeds the limit"),
        ("#" * (checked.MOST_BYTES + 1), "app.toml has 65,537 bytes, more than 65,536"),
    ],
    ids=range(10),
)
def test_what_is_no_toml_is_told_where(folder: Path, text: str | bytes, says: str) -> None:
    (line,) = told(folder, text)
    assert line.startswith(says)


# -- files


def test_sources_that_are_not_plain_files_in_the_folder_are_refused(folder: Path) -> None:
    (folder / "out.c").symlink_to("../outside.c")
    (folder.parent / "outside.c").touch()
    (folder / "dir.c").mkdir()
    os.mkfifo(folder / "pipe.c")
    (folder / "device.c").symlink_to("/dev/zero")
    (folder / "loop.c").symlink_to("loop.c")
    (folder / "gone.c").symlink_to("nothing.c")
    with (folder / "huge.c").open("wb") as file:
        file.truncate(folders.MOST_BYTES + 1)
    names = ["out.c", "dir.c", "pipe.c", "device.c", "loop.c", "gone.c", "huge.c"]
    names += ["../outside.c", "/dev/zero.c", "-x.c", "x.cpp", ".x.c", "a//b.c", "common/main.c", "x.c\n"]
    found = told(folder, GOOD.replace('"a.c", "b.c"', ", ".join(map(json.dumps, names))))
    why = [line.split(": ", 2)[2] for line in found]
    assert why[:7] == [
        "out.c leads out of the folder", "dir.c is not a plain file", "pipe.c is not a plain file",
        "device.c leads out of the folder", why[4], "gone.c is not there",
        "huge.c has 67,108,865 bytes, more than 67,108,864",
    ]  # fmt: skip
    assert why[4] in ("loop.c is a link to itself", "loop.c cannot be read: Too many levels of symbolic links")
    assert len(why) == len(names)
    assert all(one.startswith("must be a path below this folder that ends in .c or .S") for one in why[7:])


def test_a_link_that_stays_in_the_folder_is_fine(folder: Path) -> None:
    (folder / "b.c").symlink_to("a.c")
    assert folders.sources(folder).keys() == {"a.c", "b.c", "l.c", "f.c"}


@pytest.mark.parametrize("what", ["nothing", "pipe", "device", "folder"])
def test_an_app_toml_that_is_no_file_is_refused(folder: Path, what: str) -> None:
    place = folder / "app.toml"
    place.unlink()
    {"nothing": lambda: None, "pipe": lambda: os.mkfifo(place), "device": lambda: place.symlink_to("/dev/zero"),
     "folder": place.mkdir}[what]()  # fmt: skip
    with pytest.raises(AppBuild, match=r"app\.toml (is not there|is not a plain file|leads out of the folder)$"):
        apps.read(folder)


@pytest.mark.parametrize("name", ["-o.h", "a b.h", "\x1b[2J.h", "\udcff.h", "x\ny.c"])
def test_files_of_odd_names_are_not_given_to_the_compiler(folder: Path, name: str) -> None:
    (folder / name).touch()
    with pytest.raises(AppBuild, match="has a name of other characters") as caught:
        folders.sources(folder)
    assert str(caught.value).isprintable()


def test_too_much_in_a_folder_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".git").mkdir()
    (folder / ".git" / "x.c").symlink_to("/dev/zero")  # hidden: not looked at
    assert len(folders.sources(folder)) == 3
    monkeypatch.setattr(folders, "MOST_FILES", 2)
    with pytest.raises(AppBuild, match="holds too much for an app"):
        folders.sources(folder)


_PIECES = [
    '"""', "'''", "[", "]", "{", "}", "=", ".", "#", "\n", "\r\n", '"', "'", "\\", "[[phase]]", "1e999",
    "0x" + "f" * 30, "1979-05-27", "\x00", ",", "\u202e", "ops = 3\n", "\udcff",
]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(GOOD)), st.integers(0, 9), st.sampled_from(_PIECES)), max_size=4))
def test_whatever_is_in_it_it_is_read_or_refused_in_words(edits: list[tuple[int, int, str]]) -> None:
    text = GOOD
    for at, less, more in edits:
        text = text[:at] + more + text[at + less :]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "app.toml").write_bytes(text.encode(errors="surrogateescape"))
        for name in ("a.c", "l.c", "f.c"):
            Path(folder, name).touch()
        said = ""
        try:
            assert apps.read(Path(folder)).phases
        except AppBuild as refused:
            said = str(refused)
    assert not said or said.replace("\n", "").isprintable()
