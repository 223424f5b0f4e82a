"""Which recordings may be held against each other, and what of them: one measure for all guests of a comparison."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from analysis.text import listed, some
from probes.recording import Recording
from profiler.errors import NotComparable

ASIDE: Final = ("user", "libc")
"""Layers of the app's own build: they are compared only where all guests run the same build and the same libc."""
SHOWN_REPORTS: Final = ("mitigations", "pti", "clocksource", "vendor")
"""What a guest says of itself that can make a difference of its own; differences are shown above the findings."""


NAMED: Final = 4
"""Mitigations of another kind of kernel that are named."""


@dataclass(frozen=True)
class Scope:
    """``aside``: the layers ``ASIDE`` are left out, because of ``why``, which is a sentence or empty."""

    aside: bool
    why: str = ""


def check_comparable(recordings: Sequence[Recording]) -> None:
    """Raise ``NotComparable`` unless all were made in the same way, of the same app, whole, each guest on one kernel.

    The machine may differ between guests, as not every kernel boots on every one: it is shown.
    """

    def same(what: str, get: Callable[[Mapping[str, Any]], object], hint: str) -> None:
        found = sorted({str(get(recording.manifest)) for recording in recordings})
        if len(found) > 1:
            raise NotComparable(f"the recordings differ in {what}: {'; '.join(value[:200] for value in found[:3])}",
                                hint=hint)  # fmt: skip

    again = "Record all guests in one campaign, with the same options."
    same("QEMU version", lambda one: one["qemu"]["version"], again)
    same("CPU line", lambda one: one["qemu"]["cpu"], again)
    same("icount setting", lambda one: one["qemu"]["icount"], again)
    same("number of vCPUs", lambda one: one["qemu"]["vcpus"], again)
    sources = all(recording.manifest["app"].get("source_sha256") for recording in recordings)
    what, key = ("source of the app", "source_sha256") if sources else ("app binary", "sha256")
    same(what, lambda one: one["app"][key], "Compare recordings of one app at a time.")
    same("app arguments", lambda one: one["app"]["args"], "Record all guests with the same phases.")
    same("probe mode", lambda one: one["probe"]["mode"], again)
    same("call stacks", lambda one: "with" if one["probe"].get("stacks") else "without", again)
    firsts: dict[str, Recording] = {}
    places: dict[tuple[str, int], Recording] = {}
    for one in recordings:
        lost = one.manifest["probe"]["lost_events"]
        if lost:
            raise NotComparable(f"{one.directory} lost {lost} events", hint="Record it again.")
        odd = [name for name, count in one.manifest["probe"]["trouble"].items() if count]
        if odd:
            raise NotComparable(f"the probe lost its step in {one.directory}: {listed(odd)}", hint="Record it again.")
        first = firsts.setdefault(one.spec, one)
        for what, get in _OF_A_GUEST.items():
            if get(first.manifest) != get(one.manifest):
                raise NotComparable(f"the recordings of {one.spec} are of different {what}", hint="Record it again.")
        twice = places.setdefault((one.spec, one.seed), one)
        if twice is not one:
            raise NotComparable(f"{one.spec} seed {one.seed} is there twice: {twice.directory} and {one.directory}",
                                hint="Give the directory of one campaign.")  # fmt: skip


_OF_A_GUEST: Final[Mapping[str, Callable[[Mapping[str, Any]], object]]] = {
    "kernels": lambda one: one["guest"]["kernel_sha256"],
    "app binaries": lambda one: one["app"]["sha256"],
    "libraries of the app": lambda one: one["app"].get("libraries"),
    "machines": lambda one: one["qemu"]["machine"],
}


def scope(firsts: Mapping[str, Recording]) -> Scope:
    """What is compared of some guests, given a recording of each."""
    builds: dict[tuple[str, str, bool], list[str]] = {}
    targets: dict[tuple[str, str, bool], str] = {}
    for spec, one in firsts.items():
        build = str(one.manifest["app"]["sha256"]), _libraries(one), libc_in_kernel(one)
        builds.setdefault(build, []).append(spec)
        targets[build] = str(one.manifest["app"].get("target") or "a build")
    if len(builds) == 1:
        return Scope(False)
    named = []
    for build, specs in builds.items():
        binary, libraries, in_kernel = build
        alike = [other for other in builds if targets[other] == targets[build] and other[2] == in_kernel]
        digest = f" ({binary[:8]})" if any(other[0] != binary for other in alike) else ""
        digest += f" with libraries {libraries[:8]}" if any(other[1] != libraries for other in alike) else ""
        libc = ", its libc is the kernel's" if in_kernel else ""
        named.append(f"{listed(specs)}: {targets[build]}{digest}{libc}")
    return Scope(True, "layers user and libc are left out of all figures but their own, because the guests do not "
                       f"execute the same code there ({'; '.join(named)})")  # fmt: skip


def _libraries(recording: Recording) -> str:
    """A digest of all libraries that a dynamic app was given; empty for none."""
    libraries = recording.manifest["app"].get("libraries")
    return hashlib.sha256(repr(sorted(libraries.items())).encode()).hexdigest() if libraries else ""


def libc_in_kernel(recording: Recording) -> bool:
    """Whether the app's libc calls are calls into the kernel."""
    return bool(recording.manifest["guest"].get("libc_in_kernel", False))


def differing_reports(base: Mapping[str, str], other: Mapping[str, str], alike: bool
                      ) -> tuple[tuple[str, str, str], ...]:  # fmt: skip
    """Key, base, other: what two guests both say of themselves and may make a difference, as short as it can be said.

    Kernels that are not ``alike`` name their settings differently: of lists, only what is switched on is said.
    """
    found = []
    for key in SHOWN_REPORTS:
        sides = base.get(key, ""), other.get(key, "")
        if all(sides) and sides[0].casefold() != sides[1].casefold() and (short := _shortened(*sides, alike)):
            found.append((key, *short))
    return tuple(found)


def _shortened(base: str, other: str, alike: bool) -> tuple[str, str] | None:
    """Of two lists ``name=state;...`` of the same names the entries that differ, else what is switched on; None: same.

    Two texts stay as they are.
    """
    lists = [_entries(base), _entries(other)]
    if not any(lists):
        return base, other
    names = {**lists[0], **lists[1]}
    if alike and len(lists[0].keys() & lists[1].keys()) >= len(names) / 2:
        names = {name: "" for name in names if lists[0].get(name) != lists[1].get(name)}
        sides = ["; ".join(f"{name}={entries.get(name, 'not listed')}" for name in names) for entries in lists]
        return (sides[0], sides[1]) if names else None
    active = [_active(base, lists[0]), _active(other, lists[1])]
    return None if active[0] == active[1] else (active[0], active[1])


def _entries(text: str) -> dict[str, str]:
    """The entries of a list ``name=state;...``; none if the text is no such list."""
    parts = [part.partition("=") for part in text.split(";")]
    return {name.strip(): state.strip() for name, _, state in parts} if all(equals for _, equals, _ in parts) else {}


_OFF: Final = ("not affected", "vulnerable", "processor vulnerable", "kvm: vulnerable", "unknown", "inactive", "none",
               "off", "0")  # fmt: skip


def _active(text: str, entries: Mapping[str, str]) -> str:
    """What is switched on, in words; ``none`` where nothing is."""
    if entries:
        on = [name for name, state in entries.items() if not state.casefold().startswith(_OFF)]
        return f"{len(on)} active ({some(on, NAMED)})" if on else "none"
    return "none" if text.casefold().startswith(_OFF) else text
