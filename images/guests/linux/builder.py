"""Makes a Linux kernel, of Debian's archive or the user's, bootable by PVH, with the app as init of an initramfs.

In the cache::

    guests/NAME.json            which package the guest stands for, decided once: the same kernel until it is removed
    kernels/SHA256/             one per package, by the package's digest
        vmlinux                 the ELF inside the package's vmlinuz
        System.map              its symbols as ``nm`` prints them, recovered from the kernel's own kallsyms
        config                  how it was built
        seal.json               digests of these files; version, package

A kernel that the user added has the same place and files, without ``config`` (``images.added``, ``own``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from images import debian, elf, initramfs, kernels, launcher, store
from images.decompress import elf_of_bzimage
from images.guests import Guest
from images.guests.linux import own
from images.model import Bootable, Given, GuestSpec, KernelImage, Loaded, Program
from profiler.errors import ArtifactCorrupt, UsageError

APP: Final = "/app"
"""Where a program of the user's is in the guest."""

_FILES: Final = ("vmlinux", "System.map")
_WANTED: Final = {"vmlinuz": (r"boot/vmlinuz-[^/]+", 128 << 20), "config": (r"boot/config-[^/]+", 4 << 20)}
_LONGEST_COMMAND_LINE: Final = 2000  # COMMAND_LINE_SIZE of x86 is 2048
_MOST_ARGUMENTS: Final = 24  # the kernel panics beyond CONFIG_INIT_ENV_ARG_LIMIT = 32
_ARGUMENT: Final = re.compile(r"[A-Za-z0-9_./,:=@%+-]+")
_SYMBOL: Final = re.compile(r"[\x21-\x7e]{1,512}")


def prepare(
    guest: Guest, spec: GuestSpec, program: Program, arguments: Sequence[str], *,
    cache: Path, work: Path, progress: Callable[[str], None],
) -> Bootable:  # fmt: skip
    """See ``images.catalog.prepare``."""
    kernel = _kernel(guest, cache, progress)
    initrd = work / "initramfs.cpio"
    files = {**program.libraries, **program.files}
    in_place = program.init or not (program.interpreter or elf.movable(program.elf))
    if program.init:
        append = command_line(guest, spec, arguments)
        files["init"] = program.elf
    else:  # one of ours starts it, and can say where it is loaded
        append = command_line(guest, spec, [], guest.program["append"])
        told = work / launcher.FILE
        told.write_bytes(launcher.text([APP, *arguments], _environment(program)))
        files |= {APP: program.elf, launcher.FILE: told, "init": launcher.build(cache)}
    initramfs.write(initrd, files)
    return Bootable(
        spec, guest.kind, kernel, guest.machine, initrd, append, guest.panics, guest.memory_mib, program=program,
        user=(Loaded(program.elf, 0, program.own),) if in_place else (),
        locate=None if in_place else f"{append} -- {launcher.LOCATE}",
    )  # fmt: skip


def _environment(program: Program) -> Mapping[str, str]:
    """Give what a program finds in its environment: little, and the same on every machine."""
    return {"PATH": "/bin:/usr/bin", "HOME": "/tmp", "LANG": "C", **program.for_loader()}


def ready(guest: Guest, *, cache: Path) -> KernelImage | None:
    """Give the guest's kernel if it is in the cache; its digests are not checked here."""
    if guest.added:
        return kernels.image(guest, cache, *_FILES)
    home = place(guest, cache=cache)
    return _image(home) if home else None


def place(guest: Guest, *, cache: Path) -> Path | None:
    """Give the directory that the guest's kernel is in, or should be; None before it was ever fetched."""
    if guest.added:
        return kernels.place(guest, cache)
    package = _pinned(guest, cache)
    return cache / "kernels" / package.sha256 if package else None


def adopt(given: Given, directory: Path, progress: Callable[[str], None]) -> Mapping[str, Any]:
    """See ``images.guests.Builder``."""
    given.without_base("Linux")
    return own.adopt(given.kernel, given.symbols, directory, progress, symbols_of)


def sysroot(guest: Guest, *, cache: Path, progress: Callable[[str], None]) -> Path | None:
    """See ``images.guests.Builder``."""
    return None


def command_line(guest: Guest, spec: GuestSpec, init_args: Sequence[str], more: str = "") -> str:
    """Give the kernel's command line: the guest's words, the spec's options, and after ``--`` the app's arguments."""
    for argument in init_args:
        if not _ARGUMENT.fullmatch(argument):
            raise UsageError(
                f"argument {argument[:60]!r} of the app cannot go through a kernel command line",
                hint="use letters, digits and _ . / , : = @ % + - only",
            )
    line = " ".join(
        (guest.append, *([more] if more else ()), *spec.options, *(("--", *init_args) if init_args else ()))
    )
    if len(line) > _LONGEST_COMMAND_LINE or len(init_args) > _MOST_ARGUMENTS:
        raise UsageError(f"the command line of {spec} has {len(line)} characters", hint="give fewer or shorter words")
    return line


def fetch(
    guest: Guest, version: str, *, cache: Path, replacing: bool, progress: Callable[[str], None]
) -> KernelImage:  # fmt: skip
    """See ``images.guests.Builder``."""
    pinned = _pinned(guest, cache)
    if version and not (pinned and pinned.version == version):
        package = debian.named(guest.source["kernel_package"], version)
    elif replacing:
        package = debian.resolve(guest.source["package"], guest.source["kernel_package"])
    else:
        return _kernel(guest, cache, progress)
    if pinned and pinned != package and not replacing:
        raise UsageError(
            f"guest {guest.name} is {pinned.name} {pinned.version} here, so that recordings can be compared",
            hint=f"say --replace to have {package.version} in its place",
        )
    return _kernel(guest, cache, progress, package)


def _kernel(
    guest: Guest, cache: Path, progress: Callable[[str], None], wanted: debian.Package | None = None
) -> KernelImage:
    """Give the guest's kernel, that of the package ``wanted`` or of the one that it was before."""
    if guest.added:
        return kernels.checked(guest, cache, *_FILES)
    home = place(guest, cache=cache) if wanted is None else None
    if home and (image := _checked(home)):
        return image
    parent = cache / "kernels"
    with store.locked(
        parent / ".lock", lambda: progress(f"{guest.name}: another weaklink is preparing a kernel, waiting for it")
    ):
        package = wanted or _pinned(guest, cache) or debian.resolve(
            guest.source["package"], guest.source["kernel_package"]
        )  # fmt: skip
        home = parent / package.sha256
        if image := _checked(home):  # made meanwhile by somebody else, or under another guest's name
            store.write_json(_pin(guest, cache), asdict(package))
            return image
        if home.exists():
            progress(f"{guest.name}: the cached kernel is damaged, making it again")
        _make(package, home, progress)
        store.write_json(_pin(guest, cache), asdict(package))
    image = _checked(home)
    if image is None:
        raise ArtifactCorrupt(f"{home} does not read back as written", hint="check the disk that holds the cache")
    return image


def _make(package: debian.Package, home: Path, progress: Callable[[str], None]) -> None:
    """Fetch, unpack and symbolise one kernel into ``home``; the package itself is not kept."""

    def fill(directory: Path) -> Mapping[str, Any]:
        progress(f"fetching {package.name} {package.version} ({package.size / 1e6:.0f} MB)")
        deb = debian.download(package, directory)
        debian.extract(deb, _WANTED, directory)
        deb.unlink()
        vmlinuz = directory / "vmlinuz"
        progress("unpacking the kernel")
        elf = elf_of_bzimage(vmlinuz.read_bytes())
        vmlinuz.unlink()
        (directory / "vmlinux").write_bytes(elf)
        progress("recovering the kernel's symbols (some seconds, once)")
        version, listing = symbols_of(elf)
        (directory / "System.map").write_text(listing, encoding="ascii")
        return {"version": version, "package": asdict(package)}

    store.build_directory(home, fill)


def symbols_of(elf: bytes) -> tuple[str, str]:
    """Recover (kernel version, symbols as ``nm`` lists them) from the kallsyms tables of an unpacked kernel.

    Raises ``ArtifactCorrupt`` if there are none.
    """
    from vmlinux_to_elf.core.kallsyms import KallsymsFinder

    try:
        found = KallsymsFinder(elf)
        lines = []
        for symbol in found.symbols:
            letter = symbol.symbol_type.value
            if _SYMBOL.fullmatch(symbol.name):
                lines.append(
                    f"{symbol.virtual_address:016x} {letter if symbol.is_global else letter.lower()} {symbol.name}\n"
                )
    except Exception as error:  # a search through untrusted bytes: whatever it trips over, the kernel is not usable
        raise ArtifactCorrupt(
            f"no symbols found in the kernel ({type(error).__name__}: {str(error)[:200]})",
            hint="this kernel was built without CONFIG_KALLSYMS_ALL, or vmlinux-to-elf does not know its layout yet",
        ) from error
    # "Linux version 6.1.0-56-cloud-amd64 (debian-kernel@...": the third word is what uname -r says.
    return found.version_string.split()[2][:64], "".join(lines)


def _pin(guest: Guest, cache: Path) -> Path:
    return cache / "guests" / f"{guest.name}.json"


def _pinned(guest: Guest, cache: Path) -> debian.Package | None:
    """Give the package that this guest was resolved to before, if the note of it can be believed."""
    note = store.read_json(_pin(guest, cache)) or {}
    name, version, sha256, size = (note.get(key) for key in ("name", "version", "sha256", "size"))
    if (
        isinstance(name, str) and re.fullmatch(guest.source["kernel_package"], name)
        and isinstance(version, str) and isinstance(size, int)
        and isinstance(sha256, str) and re.fullmatch("[0-9a-f]{64}", sha256)
    ):  # fmt: skip
        return debian.Package(name, version, sha256, size)
    return None


def _checked(home: Path) -> KernelImage | None:
    image = _image(home)
    return image if image and kernels.intact(home, (home / store.SEAL).stat().st_mtime_ns) else None


def _image(home: Path) -> KernelImage | None:
    seal = store.read_json(home / store.SEAL) or {}
    try:
        package = seal["notes"]["package"]
        return KernelImage(
            elf=home / _FILES[0],
            symbols=home / _FILES[1],
            sha256=str(seal["files"][_FILES[0]]),
            version=str(seal["notes"]["version"]),
            provenance=f"release {package['name']} {package['version']}",
        )
    except (KeyError, TypeError):
        return None
