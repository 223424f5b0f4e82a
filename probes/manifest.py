"""What the manifest of a recording says: its declaration, which is at the same time its validator."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from typing import Any, Final, Literal, NoReturn, NotRequired, TypedDict, cast

from probes.events import SCHEMA_VERSION
from profiler.errors import RecordingInvalid

_LIMIT: Final = 1 << 63
AGAIN: Final = "Record it again: remove the directory and repeat the `weaklink run` that made it."


class ScalesManifest(TypedDict):
    """Which series a phase is of, which does the same with more and more of ``unit``, and with how many of it."""

    series: str
    unit: str
    load: int


class PhaseManifest(TypedDict):
    """What the app declares of a phase: its question, its ops, and the calls that it makes for sure.

    Without ``calls`` nobody has said which these are; without any in it there are none.
    """

    number: int
    name: str
    question: str
    op: str
    ops: int
    calls: NotRequired[dict[str, int]]
    varies: list[str]
    scales: NotRequired[ScalesManifest]


class AppManifest(TypedDict):
    """The app that ran; ``sha256`` is of its binary, ``source_sha256`` the same whatever it was built for.

    ``libraries`` has the SHA-256 of each library that a dynamic program was given, by its name.
    """

    name: str
    sha256: str
    source_sha256: NotRequired[str]
    target: NotRequired[str]
    libraries: NotRequired[dict[str, str]]
    args: list[str]
    phases: list[PhaseManifest]


class GuestManifest(TypedDict):
    """The guest that ran it."""

    spec: str
    name: str
    kind: str
    runtime: str
    options: list[str]
    kernel_sha256: str
    symbols_sha256: NotRequired[str]
    kernel_version: str
    provenance: str
    append: str
    fair: NotRequired[str]
    """What a comparison with this runtime is fair for."""
    libc_in_kernel: NotRequired[bool]
    machine: NotRequired[str]


class QemuManifest(TypedDict):
    """The machine; ``command`` is the whole command line."""

    version: str
    machine: str
    cpu: str
    icount: str
    vcpus: int
    memory_mib: int
    command: str


class SeedManifest(TypedDict):
    """What the deterministic run started from."""

    number: int
    rtc: str
    spin: int


class Capability(TypedDict):
    """Whether the probe could have something on this QEMU, and why not."""

    available: bool
    reason: str


class NotHooked(TypedDict):
    """An event source that was looked for in this kernel and not found."""

    what: str
    reason: str


class VcpuManifest(TypedDict):
    """What the counters of one of several vCPUs said of a phase; ``idle_ns`` by the host's clock."""

    phase: int
    vcpu: int
    instructions: int
    rep_iterations: int
    idle_ns: int


class ProbeManifest(TypedDict):
    """How the run was watched.  ``block`` mode counts up to 2 % too many in a phase: docs/probe.md."""

    mode: Literal["exact", "block"]
    statistical: NotRequired[bool]
    """Several vCPUs ran at the same time: no other run is the same, not even of the same seed."""
    vcpus: NotRequired[list[VcpuManifest]]
    capabilities: dict[str, Capability]
    not_hooked: list[NotHooked]
    lost_events: int
    trouble: dict[str, int]
    """What the probe found that should not be: ``resync``, returns to user code by a way it did not see; ``switches``,
    switches away from a thread that was not the current one; the rest end a run."""
    map_sha256: str
    stacks: NotRequired[bool]
    """Whether call stacks were kept; functions that many share are then of their caller's layer."""
    stacks_seen: NotRequired[dict[str, int]]
    """What happened to stacks: ``unwound``, left otherwise than frame by frame; ``opened``, returns to callers from
    before the thread was first seen; ``deep``, calls shown at less than their depth; ``resync``, returns and jumps that
    nothing explains; ``full``, calls for which there was no room."""


class CostManifest(TypedDict):
    """What the run cost the host, in seconds."""

    wall_s: float
    cpu_s: float
    boot_s: float


class Manifest(TypedDict):
    """manifest.json.  Keys that are not named here are kept and ignored."""

    schema: int
    tool: str
    created: str
    app: AppManifest
    guest: GuestManifest
    guest_reports: dict[str, str]
    qemu: QemuManifest
    seed: SeedManifest
    probe: ProbeManifest
    cost: CostManifest
    events_kept: NotRequired[list[int]]
    """The phases whose events were kept, where not all were."""


def check_manifest(value: object) -> Manifest:
    """The manifest, if ``value`` is one; otherwise ``RecordingInvalid`` names the first field that is wrong."""
    if isinstance(value, Mapping) and value.get("schema") != SCHEMA_VERSION:
        raise RecordingInvalid(
            f"this recording has schema {value.get('schema')!r:.40}, and this weaklink reads schema {SCHEMA_VERSION}",
            hint=AGAIN,
        )
    _check(value, Manifest, "manifest")
    return cast(Manifest, value)


def _check(value: object, want: Any, where: str) -> None:
    """Hold ``value`` against a type hint made of TypedDict, dict, list, unions, Literal and plain types."""
    origin, args = typing.get_origin(want), typing.get_args(want)
    if want is Any:
        return
    if typing.is_typeddict(want):
        if not isinstance(value, dict):
            _wrong(where, "an object")
        for key, hint in typing.get_type_hints(want, include_extras=True).items():
            if typing.get_origin(hint) is NotRequired:
                if key in value:
                    _check(value[key], typing.get_args(hint)[0], f"{where}.{key}")
                continue
            if key not in value:
                _wrong(f"{where}.{key}", "there")
            _check(value[key], hint, f"{where}.{key}")
    elif origin is list:
        if not isinstance(value, list):
            _wrong(where, "a list")
        for number, item in enumerate(value):
            _check(item, args[0], f"{where}[{number}]")
    elif origin is dict:
        if not isinstance(value, dict):
            _wrong(where, "an object")
        for key, item in value.items():
            _check(key, args[0], f"a key of {where}")
            _check(item, args[1], f"{where}.{key if key.isprintable() else ascii(key):.80}")
    elif origin is Literal:
        if value not in args:
            _wrong(where, " or ".join(map(str, args)))
    elif origin is types.UnionType:
        if not any(_fits(value, hint) for hint in args):
            _wrong(where, str(want))
    elif want is float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _LIMIT:
            _wrong(where, "a number of at least 0")
    elif want is int and isinstance(value, int) and not -_LIMIT <= value < _LIMIT:
        _wrong(where, "a number of 64 bits")
    elif not isinstance(value, want) or (want is int and isinstance(value, bool)):
        _wrong(where, f"of type {want.__name__}")


def _fits(value: object, want: Any) -> bool:
    try:
        _check(value, want, "")
    except RecordingInvalid:
        return False
    return True


def _wrong(where: str, what: str) -> NoReturn:
    raise RecordingInvalid(f"the recording does not hold what it should: {where} is not {what}", hint=AGAIN)
