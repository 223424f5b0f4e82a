"""What a guest is, before and after it was prepared: plain frozen values, no input or output here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from profiler.errors import UsageError

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")
_OPTION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.,:=@-]{0,79}")
_LONGEST_SPEC = 160
_GRAMMAR = "write NAME[:runtime][+option...], as in linux, linux:static or linux+audit=1+init_on_alloc=0"


@dataclass(frozen=True)
class GuestSpec:
    """Which guest: a name of ``weaklink guests list``, how it runs the app, and its boot options in order."""

    name: str
    runtime: str = ""
    options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse whatever could not be a directory name or would be read as more than one word."""
        for what, text in (("guest name", self.name), ("runtime", self.runtime)):
            if not _NAME.fullmatch(text) and (text or what == "guest name"):
                raise UsageError(f"{what} {text[:60]!r} is not a lower-case word", hint=_GRAMMAR)
        for option in self.options:
            if not _OPTION.fullmatch(option):
                raise UsageError(
                    f"boot option {option[:60]!r} of guest {self.name} is not one plain word",
                    hint=f"{_GRAMMAR}; letters, digits and _ . , : = @ - are allowed",
                )
        if len(set(self.options)) != len(self.options):
            raise UsageError(f"guest {str(self)[:80]!r} gives an option twice", hint="give each option once")
        if len(str(self)) > _LONGEST_SPEC:
            raise UsageError(f"guest {str(self)[:40]!r}... is too long", hint=f"at most {_LONGEST_SPEC} characters")

    @classmethod
    def parse(cls, text: str) -> GuestSpec:
        """Read ``NAME[:runtime][+option...]``; ``UsageError`` says what is wrong with it."""
        head, *options = text.split("+")
        name, colon, runtime = head.partition(":")
        if colon and not runtime:
            raise UsageError(f"guest {text[:60]!r} has a colon but no runtime", hint=_GRAMMAR)
        return cls(name, runtime, tuple(options))

    def __str__(self) -> str:
        """Give the canonical form, which ``parse`` reads back to the same value."""
        return "+".join((self.name + (f":{self.runtime}" if self.runtime else ""), *self.options))

    def directory_name(self) -> str:
        """Give the canonical form as a file name, with ``:``, ``,`` and ``@`` as %XX; no two specs share one.

        QEMU splits its options at commas and search paths split at colons, so neither may be in a path of ours.
        """
        return re.sub(r"[^A-Za-z0-9._+=-]", lambda match: f"%{ord(match[0]):02x}", str(self))


@dataclass(frozen=True)
class KernelImage:
    """One kernel on this disk.  ``symbols`` is for ``probes.symbols.SymbolTable.load``; ``sha256`` is the ELF's.

    ``provenance`` says whose build it is: ``release PACKAGE VERSION`` for the distribution's own package,
    and what the user said of a kernel that was added.
    """

    elf: Path
    symbols: Path
    sha256: str
    version: str
    provenance: str


@dataclass(frozen=True)
class Given:
    """The files that a user gave as a kernel: not believed yet.  ``base``: the directory or archive of its system."""

    kernel: Path
    symbols: Path | None = None
    base: Path | None = None

    def without_base(self, system: str) -> None:
        """Raise ``UsageError`` if there is a base: an app on ``system`` needs none."""
        if self.base is not None:
            raise UsageError(f"a guest with {system} has no use for --base", hint="leave --base out")


@dataclass(frozen=True)
class Program:
    """What is run in a guest: one ELF, and the files that it wants there.

    ``target`` names how it was built, as a runtime's ``app`` in guest.toml does.  ``source_sha256`` is the digest of
    sources and declared flags, whatever target and toolchain: equal means the same app.  ``own`` are the app's own
    functions in ``elf``; None: every function is the app's own.  ``libraries`` and ``files`` map paths in the guest to
    files here; ``interpreter`` is the one of ``libraries`` that loads the others, "" for a static program.
    ``preload`` is one of ``libraries`` that is loaded before the others, unasked.  ``init``: it was written to be a
    guest's first process, to report the guest, and to say when it is done; a program of the user's was not.
    """

    elf: Path
    sha256: str
    target: str
    source_sha256: str
    own: frozenset[str] | None = None
    libraries: Mapping[str, Path] = field(default_factory=dict, hash=False)
    interpreter: str = ""
    files: Mapping[str, Path] = field(default_factory=dict, hash=False)
    preload: str = ""
    init: bool = True

    def for_loader(self) -> Mapping[str, str]:
        """Give what the loader of a program of the user's is told: to bind every name before the program begins.

        Else the first call of each function would go through the loader, and not be seen as a call of that function.
        """
        if self.init:
            return {}
        return {"LD_BIND_NOW": "1", **({"LD_PRELOAD": self.preload} if self.preload else {})}


@dataclass(frozen=True)
class Loaded:
    """An ELF file where it lies in the guest: ``base`` is added to its addresses, 0 for one that is linked in place.

    ``own`` as in ``Program``; empty: all of it is libc's.
    """

    elf: Path
    base: int
    own: frozenset[str] | None


@dataclass(frozen=True)
class Bootable:
    """All that QEMU needs to boot one guest with one app, and how its kernel says that it gave up.

    ``disk`` is given read-only.  ``user`` is what lies in the app's memory and where; if the loader decides that,
    ``locate`` is the kernel command line of a boot after which the console has said it (``profiler.machine.locate``).
    ``libc_in_kernel``: the app's libc calls are calls into the kernel.  ``starts`` and ``ends``: patterns of the lines
    with which the kernel says that it starts the program and with which status that ended, "" where a program of ours
    says so itself.
    """

    spec: GuestSpec
    kind: str
    kernel: KernelImage
    machine: str
    initrd: Path | None
    append: str
    panics: tuple[str, ...]  # regular expressions, searched in one console line at a time
    memory_mib: int
    program: Program | None = None
    user: tuple[Loaded, ...] = ()
    disk: Path | None = None
    libc_in_kernel: bool = False
    locate: str | None = None
    starts: str = ""
    ends: str = ""


@dataclass(frozen=True)
class GuestInfo:
    """One line of ``weaklink guests list``; what is not known before the first use is an empty string."""

    name: str
    kind: str
    version: str
    provenance: str
    sha256: str
    state: str  # ready | fetched on first use | not here | damaged
    runtimes: tuple[str, ...]
    description: str
