"""A Linux kernel that the user has: is it one, can it boot here, and do the symbols belong to it?"""

from __future__ import annotations

import mmap
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from images import elf, identify
from images.decompress import elf_of_bzimage
from images.elf import Elf, Symbol
from images.fitting import check_places, unfit
from images.intake import copy, mapped, opened, plain
from profiler.errors import ArtifactCorrupt, UsageError

_LARGEST_KERNEL: Final = 2 << 30  # a vmlinux with its debug information has 0.6 GB
_LARGEST_BZIMAGE: Final = 128 << 20
_LARGEST_LISTING: Final = 256 << 20
_LARGEST_SEARCHED: Final = 256 << 20  # for kallsyms, in memory
_MOST_SEARCHED: Final = 50_000
_BANNER: Final = b"Linux version "
_RELEASE: Final = re.compile(rb"Linux version (\d+\.[\x21-\x7e]{1,62}) \([^\0\n]{1,500}")
_LONGEST_BANNER: Final = 600
_PVH_ENTRY: Final = ("Xen", 18)  # XEN_ELFNOTE_PHYS32_ENTRY, include/xen/interface/elfnote.h in Linux
_LISTED: Final = re.compile(r"^([0-9a-fA-F]{8,16}) (?:([0-9a-fA-F]{1,16}) )?([A-Za-z]) ([\x21-\x7e]{1,512})$", re.M)
_MOST_SYMBOLS: Final = 4_000_000
_NAME: Final = re.compile(r"[\x21-\x7e]{1,512}")

_KERNEL_WANTED: Final = "give a vmlinux or a bzImage (vmlinuz) for x86-64, as a kernel's build or /boot has it"
_SYMBOLS_WANTED: Final = "give the System.map or the vmlinux of the very build that the kernel comes from"


def adopt(
    kernel: Path, symbols: Path | None, directory: Path, progress: Callable[[str], None],
    recover: Callable[[bytes], tuple[str, str]],
) -> Mapping[str, Any]:  # fmt: skip
    """Put ``vmlinux`` and ``System.map`` into ``directory``; give ``version`` and where the symbols are from.

    ``recover`` gives (version, listing) from a kernel's kallsyms.  Raises ``UsageError`` for what is something else,
    ``ArtifactCorrupt`` for what is damaged.
    """
    with ExitStack() as stack:
        _take(kernel, directory / "vmlinux", progress)
        image = mapped(stack, directory / "vmlinux")
        file = Elf(image)
        banner = _kernel_of(file, kernel)
        inside = file.symbols()
        if symbols is not None:
            progress("comparing the symbols with the kernel")
            given = _given(stack, symbols, file, banner)
            _held_to_the_kernel(given, file, plain(symbols))
            reference = inside or _recovered(file, image, recover, needed=False)
            check_places(given, reference, plain(symbols), _SYMBOLS_WANTED)
            listing, source = given, "given"
        elif inside:
            listing, source = inside, "the ELF file's own"
            _held_to_the_kernel(inside, file, plain(kernel))
        else:
            progress("recovering the kernel's symbols (some seconds, once)")
            listing, source = _recovered(file, image, recover, needed=True), "the kernel's own kallsyms"
        (directory / "System.map").write_text("".join(map(_line, listing)), encoding="ascii")
    return {"version": _release(banner), "symbols": source}


def _take(kernel: Path, target: Path, progress: Callable[[str], None]) -> None:
    """Copy the kernel, unpacked where it is compressed, to ``target``; what is tested is then what is kept."""
    with opened(kernel, "the kernel", _KERNEL_WANTED) as source:
        beginning = source.read(identify.HEAD)
        source.seek(0)
        if identify.is_bzimage(beginning):
            progress("unpacking the kernel")
            packed = source.read(_LARGEST_BZIMAGE + 1)
            if len(packed) > _LARGEST_BZIMAGE:
                raise UsageError(f"{plain(kernel)} has more than {_LARGEST_BZIMAGE >> 20} MiB", hint=_KERNEL_WANTED)
            try:
                target.write_bytes(elf_of_bzimage(packed))
            except ArtifactCorrupt as error:
                raise ArtifactCorrupt(
                    str(error), hint="copy it again; if that is no help, give the vmlinux of its build instead"
                ) from error
            return
        if not beginning.startswith(elf.MAGIC):
            raise UsageError(f"{plain(kernel)} is {identify.what(beginning)}, no Linux kernel", hint=_KERNEL_WANTED)
        if elf.head(beginning) != (64, 1, elf.EXECUTABLE, elf.X86_64):
            raise UsageError(
                f"{plain(kernel)} is {identify.what(beginning)}, no Linux kernel that can boot here",
                hint=_KERNEL_WANTED,
            )
        copy(source, target, _LARGEST_KERNEL, plain(kernel))


def _kernel_of(file: Elf, kernel: Path) -> bytes:
    """Give the banner of a Linux kernel that boots by PVH; ``UsageError`` says what else the file is."""
    if (file.type, file.machine) != (elf.EXECUTABLE, elf.X86_64):  # what was in a bzImage
        raise UsageError(f"{plain(kernel)} holds a kernel that is not for x86-64", hint=_KERNEL_WANTED)
    banner = _banner(file)
    if not banner:
        other = identify.system(file)
        found = f"a kernel of another system, {other}" if other else "an ELF program without Linux's version banner"
        raise UsageError(f"{plain(kernel)} is {found}", hint=_KERNEL_WANTED)
    if not file.note(*_PVH_ENTRY):
        raise UsageError(
            f"{plain(kernel)} (Linux {_release(banner)}) was built without CONFIG_PVH: QEMU's -kernel cannot start it",
            hint="build it with CONFIG_PVH=y (menuconfig: Processor type and features, Linux guest support)",
        )
    return banner


def _banner(file: Elf) -> bytes:
    for count, at in enumerate(file.find(_BANNER)):
        if found := _RELEASE.match(file.bytes_at(at, _LONGEST_BANNER)):
            return found[0]
        if count > 1000:
            break
    return b""


def _release(banner: bytes) -> str:
    found = _RELEASE.match(banner)
    assert found is not None
    return found[1].decode("ascii")


def _given(stack: ExitStack, symbols: Path, kernel: Elf, banner: bytes) -> list[Symbol]:
    """Read --symbols; if they come in an ELF file, its build id and banner must be the kernel's."""
    source = stack.enter_context(opened(symbols, "--symbols", _SYMBOLS_WANTED))
    beginning = source.read(identify.HEAD)
    source.seek(0)
    name = plain(symbols)
    if beginning.startswith(elf.MAGIC):
        kind = elf.head(beginning)
        if (kind[0], kind[1], kind[3]) != (64, 1, elf.X86_64):
            raise UsageError(f"{name} is {identify.what(beginning)}", hint=_SYMBOLS_WANTED)
        other = Elf(stack.enter_context(mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ)))
        if other.build_id and kernel.build_id and other.build_id != kernel.build_id:
            raise _unfit(name, f"its build id is {other.build_id}, the kernel's {kernel.build_id}")
        theirs = _banner(other)
        if theirs and theirs != banner:
            raise _unfit(name, f"it is of Linux {_release(theirs)}, the kernel is {_release(banner)} or another build")
        if not (found := other.symbols()):
            raise UsageError(f"{name} has no symbols: it was stripped", hint=_SYMBOLS_WANTED)
        return found
    if "symbols" not in identify.what(beginning):
        raise UsageError(f"{name} is {identify.what(beginning)}, no list of symbols", hint=_SYMBOLS_WANTED)
    text = source.read(_LARGEST_LISTING + 1)
    if len(text) > _LARGEST_LISTING:
        raise UsageError(f"{name} has more than {_LARGEST_LISTING >> 20} MiB", hint=_SYMBOLS_WANTED)
    if b"The real System.map is in" in text[:1000]:
        raise UsageError(
            f"{name} only says that the real System.map is in the package linux-image-...-dbg",
            hint="leave --symbols out: the kernel's own table of symbols is used then",
        )
    return list(_parsed(text.decode("utf-8", errors="replace")))


def _parsed(listing: str) -> Iterable[Symbol]:
    for count, (address, size, letter, name) in enumerate(_LISTED.findall(listing)):
        if count >= _MOST_SYMBOLS:
            raise UsageError(f"it lists more than {_MOST_SYMBOLS} symbols", hint=_SYMBOLS_WANTED)
        yield Symbol(int(address, 16), int(size or "0", 16), letter, name)


def _held_to_the_kernel(symbols: Sequence[Symbol], file: Elf, name: str) -> None:
    """Refuse symbols whose fixed points are not where this kernel has them."""
    places = {symbol.name: symbol.address for symbol in symbols}
    code = next((segment for segment in file.segments if segment.executable), None)
    if "_text" not in places:
        raise _unfit(name, "it has no _text, so it is not of a Linux kernel")
    if not code or places["_text"] != code.virtual:
        begin = f"{code.virtual:x}" if code else "nowhere"
        raise _unfit(name, f"it has _text at {places['_text']:x}, the kernel's code begins at {begin}")
    entry = int.from_bytes(file.note(*_PVH_ENTRY)[:8], "little")
    if "pvh_start_xen" in places and places["pvh_start_xen"] - code.virtual != entry - code.physical:
        raise _unfit(name, f"it has the entry point pvh_start_xen at {places['pvh_start_xen']:x}, which it is not")
    if "linux_banner" in places and not file.memory(places["linux_banner"], 64).startswith(_BANNER):
        raise _unfit(
            name, f"it has linux_banner at {places['linux_banner']:x}, and the kernel has something else there"
        )


def _recovered(
    file: Elf, image: mmap.mmap, recover: Callable[[bytes], tuple[str, str]], *, needed: bool
) -> list[Symbol]:
    """Give what kallsyms has.  If it is only for a comparison, a kernel without that table is no failure."""
    try:
        if len(image) > _LARGEST_SEARCHED:
            raise ArtifactCorrupt(f"no symbols found in the kernel: with {len(image) >> 20} MiB it is not searched")
        if file.entries > _MOST_SEARCHED:  # vmlinux-to-elf makes a class of its own for each
            raise ArtifactCorrupt(f"no symbols found in the kernel, but {file.entries} of no use")
        return list(_parsed(recover(image[:])[1]))
    except ArtifactCorrupt as error:
        if not needed:
            return []
        raise ArtifactCorrupt(
            str(error), hint="give them with --symbols: the System.map or the vmlinux of the same build"
        ) from error


def _line(symbol: Symbol) -> str:
    """Give a line of the listing, without the size: kallsyms has none, and the same kernel shall get the same names."""
    return f"{symbol.address:016x} {symbol.letter} {symbol.name}\n" if _NAME.fullmatch(symbol.name) else ""


def _unfit(name: str, why: str) -> UsageError:
    return unfit(name, why, _SYMBOLS_WANTED)
