"""README.md and docs/: their commands are understood, what they name is there, the README's way works as written."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from probes import archive
from probes.events import LAYERS
from profiler.cli import demo
from profiler.cli.main import main, parser
from tests.conftest import ROOT

PAGES = ["README.md", *sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").glob("*.md"))]
PROGRAMS = ("weaklink", "./weaklink-dev", "just", "python -m")
STANDS_FOR = {
    "APP": "tour", "A,B": "linux,linux+audit=1", "N": "3", "DIR": "out", "GUEST": "linux", "FILE": "page.html",
    "KIND": "linux", "MACHINE": "zen3", "SECONDS": "30",
}  # fmt: skip
OWN_PATH = re.compile(r"(?:profiler|images|probes|analysis|tests|docs)/(?:[\w.-]+/)*(?:[\w-]+\.\w+)?")


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def commands(page: str) -> list[str]:
    """Everything on a page that is set as code and begins with a program of ours."""
    text = text_of(page)
    lines = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    lines += [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    lines += re.findall(r"`([^`\n]+)`", text)
    return [line.split("  ")[0].split(" #")[0] for line in lines if line.startswith(tuple(f"{p} " for p in PROGRAMS))]


def variants(command: str) -> list[list[str]]:
    """A command as words, placeholders filled in: without and with what stands in brackets, with each alternative."""
    bare = re.sub(r"\[[^]]*\]", "", command)
    full = command.replace("[", "").replace("]", "")
    texts = [bare, full]
    for alternatives in re.findall(r"\S+\|\S+", full):
        texts = [one.replace(alternatives, choice) for one in texts for choice in alternatives.split("|")]
    return [[STANDS_FOR.get(word, word) for word in shlex.split(text)] for text in dict.fromkeys(texts)]


ALL = [(page, command) for page in PAGES for command in commands(page)]


def test_commands_are_found() -> None:
    assert ("README.md", "./weaklink-dev demo") in ALL
    assert ("README.md", "weaklink explain DIR --against GUEST") in ALL
    assert (
        "docs/explain.md",
        "weaklink explain DIR --against GUEST [--brief] [--prices MACHINE] [--format text|json|markdown]",
    ) in ALL
    assert variants("weaklink explain DIR [--format text|json]")[-1] == [
        "weaklink", "explain", "out", "--format", "json"]  # fmt: skip


@pytest.mark.parametrize(("page", "command"), ALL, ids=lambda value: value)
def test_a_command_is_understood(page: str, command: str) -> None:
    recipes = re.findall(r"^([a-z]+)[^\n:=]*:(?!=)", text_of("justfile"), re.MULTILINE)
    for program, *words in variants(command):
        if program == "weaklink":
            if len(words) == 1:  # in a sentence, as in "`weaklink report`": it only says that there is this verb
                with pytest.raises(SystemExit, match="0"):
                    parser().parse_args([*words, "--help"])
            else:
                parser().parse_args(words)  # raises UsageError
        elif program == "python":
            module = words[1]
            assert words[0] == "-m"
            assert importlib.util.find_spec(module), f"{page}: there is no module {module}"
            place = ROOT / module.replace(".", "/")
            file = place / "__main__.py" if place.is_dir() else place.with_suffix(".py")
            source = file.read_text(encoding="utf-8")
            for option in (word for word in words if word.startswith("--")):
                assert f'"{option}"' in source, f"{page}: {module} has no {option}"
        else:
            assert words[0] in recipes, f"{page}: the justfile has no {words[0]}"


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_names_is_there(page: str) -> None:
    text = text_of(page)
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    quoted = re.findall(r"`([^`\n]+)`", text)
    named = [name for name in quoted if OWN_PATH.fullmatch(name) and "NAME" not in name]
    missing = [link for link in links if not (ROOT / page).parent.joinpath(link).exists()]
    missing += [name for name in named if not (ROOT / name).exists()]
    assert missing == []


def test_the_demo_is_what_the_readme_shows() -> None:
    shown = next(command for command in commands("README.md") if command.startswith("weaklink run tour"))
    asked = parser().parse_args(shlex.split(shown)[1:])
    by_default = parser().parse_args(["demo"])
    assert (asked.app, asked.guests) == (demo.APP, ",".join(demo.live(())[0]))  # where no other kernel is
    assert (asked.seeds, asked.out) == (by_default.seeds, by_default.out)


def test_the_readmes_commands_work_on_recordings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive.unpack(ROOT / "tests/golden/linux.recordings", tmp_path / "tour")
    shown = [shlex.split(command)[1:] for command in commands("README.md") if "out/demo" in command]
    verbs = [words[0] for words in shown]
    assert verbs == ["run", "verify", "explain", "report"]
    said = {}
    for words in shown[1:]:
        assert main([str(tmp_path) if word == "out/demo" else word for word in words]) == 0
        said[words[0]] = capsys.readouterr().out
    assert said["verify"].count("checks hold") == 6
    assert "__audit_syscall_entry" in said["explain"]
    assert said["report"] == f"{tmp_path / 'report.html'}\n"
    assert (tmp_path / "report.html").stat().st_size > 10_000


def test_what_the_readme_shows_is_what_is_said_of_the_recordings() -> None:
    said = set((ROOT / "tests/golden/tour.txt").read_text(encoding="utf-8").splitlines())
    shown = [line for block in re.findall(r"```text\n(.*?)```", text_of("README.md"), re.DOTALL)
             for line in block.splitlines()]  # fmt: skip
    assert len(shown) > 30
    assert [line for line in shown if line not in said] == [], "take it from tests/golden/tour.txt"


def test_the_example_of_reading_a_recording_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive.unpack(ROOT / "tests/golden/linux.recordings", tmp_path / "out/demo/tour")
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", text_of("docs/recording.md"), re.DOTALL)
    exec(example, {})


def test_the_page_of_the_maps_has_every_layer() -> None:
    table = text_of("docs/maps.md").partition("## What each layer means")[2].partition("\n## ")[0]
    assert tuple(re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE)) == LAYERS
