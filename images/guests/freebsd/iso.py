"""Writes the ISO 9660 image that FreeBSD takes for its root: the same files give the same bytes.

By hand, because no library writes one without the time of writing in it.  ECMA-119 is the format; names and modes are
Rock Ridge's (IEEE P1282), in which files called 0000, 0001, ... have the names that count.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from images.store import disk_full_named
from profiler.errors import UsageError

_BLOCK: Final = 2048
_SYSTEM_BLOCKS: Final = 16  # ahead of the first descriptor, for boot code
_LONGEST_NAME: Final = 150  # bytes: a record has a length of one byte, and no record of ours goes on elsewhere
_MODES: Final = {True: 0o040755, False: 0o100555}
_DATE: Final = bytes((70, 1, 1, 0, 0, 0, 0))
_NO_DATE: Final = b"0" * 16 + b"\0"


@dataclass
class _Node:
    """A file (``source``) or a directory; ``at`` is its first block, ``size`` its bytes."""

    name: str
    parent: _Node | None
    source: Path | None = None
    children: dict[str, _Node] = field(default_factory=dict)
    at: int = 0
    size: int = 0

    def blocks(self) -> int:
        return -(-self.size // _BLOCK)


def write(path: Path, files: Mapping[str, Path], folders: tuple[str, ...] = ()) -> None:
    """Write the image with ``files`` (path in the guest -> file here, all executable) and empty ``folders``.

    Raises ``UsageError`` for a path that cannot be in it, ``DiskFull``, OSError if a file cannot be read.
    """
    root = _Node("", None)
    for name in folders:
        _place(root, name)
    for name, source in files.items():
        node = _place(root, name)
        if node.children or node.source or node is root:
            raise UsageError(f"{name[:80]!r} is given twice, or is also a folder", hint="give each file one place")
        node.source, node.size = source, source.stat().st_size
    directories = _directories(root)
    tables = [_path_table(directories, order) for order in "<>"]  # of the right length; the places come below
    table_blocks = -(-len(tables[0]) // _BLOCK)
    at = _SYSTEM_BLOCKS + 2 + 2 * table_blocks
    everything = [*directories, *(node for one in directories for node in _sorted(one) if node.source)]
    for node in everything:
        if not node.source:
            node.size = len(_records(node))
        node.at, at = at, at + node.blocks()
    places = [_SYSTEM_BLOCKS + 2, _SYSTEM_BLOCKS + 2 + table_blocks]
    with disk_full_named(path), path.open("wb") as image:
        image.write(bytes(_SYSTEM_BLOCKS * _BLOCK))
        image.write(_primary(root, at, len(tables[0]), places))
        image.write(_whole(b"\xffCD001\x01"))
        for order in "<>":
            image.write(_whole(_path_table(directories, order)))
        for node in everything:
            image.write(_whole(node.source.read_bytes() if node.source else _records(node)))


def _place(root: _Node, name: str) -> _Node:
    """Give the node of a path, made with the folders above it."""
    node = root
    for part in name.strip("/").split("/"):
        if part in ("", ".", "..") or len(part.encode()) > _LONGEST_NAME or "\0" in part or node.source:
            raise UsageError(f"{name[:80]!r} cannot be a file of the guest", hint=f"names of 1..{_LONGEST_NAME} bytes")
        node = node.children.setdefault(part, _Node(part, node))
    return node


def _sorted(node: _Node) -> list[_Node]:
    return [node.children[name] for name in sorted(node.children)]


def _directories(root: _Node) -> list[_Node]:
    """Give all directories in the path table's order: by depth, and there by the order of their parents."""
    found, level = [root], [root]
    while level:
        level = [child for one in level for child in _sorted(one) if not child.source]
        found += level
    return found


def _identifier(node: _Node) -> bytes:
    """Give the name in the plain file system: the number in its directory, so that names are sorted."""
    assert node.parent is not None
    return b"%04d" % sorted(node.parent.children).index(node.name)


def _path_table(directories: list[_Node], order: str) -> bytes:
    numbers = {id(node): number for number, node in enumerate(directories, start=1)}
    table = b""
    for node in directories:
        identifier = _identifier(node) if node.parent else b"\0"
        above = numbers[id(node.parent)] if node.parent else 1
        table += struct.pack(f"{order}BBIH", len(identifier), 0, node.at, above) + _even(identifier)
    return table


def _records(node: _Node) -> bytes:
    """Give a directory's content: itself, its parent, its children; no record crosses a block's end."""
    here = _attributes(node)
    if node.parent is None:  # which extensions there are; the kernel looks for it in the root's first record
        here = b"SP\x07\x01\xbe\xef\0" + here + b"ER\x12\x01\x0a\0\0\x01RRIP_1991A"
    above = node.parent or node
    rows = [_record(node, b"\0", here), _record(above, b"\1", _attributes(above))]
    for child in _sorted(node):
        name = child.name.encode()
        alias = b"NM" + bytes((5 + len(name), 1, 0)) + name
        rows.append(_record(child, _identifier(child), _attributes(child) + alias))
    content = b""
    for row in rows:
        if len(content) % _BLOCK + len(row) > _BLOCK:
            content = _whole(content)
        content += row
    return _whole(content)


def _record(node: _Node, identifier: bytes, extensions: bytes) -> bytes:
    body = _both4(node.at) + _both4(node.size) + _DATE + bytes((0 if node.source else 2, 0, 0)) + _both2(1)
    body += bytes((len(identifier),)) + identifier
    body += bytes((len(body) + 2) % 2) + extensions  # its length and that of the attributes come before it
    body += bytes(len(body) % 2)
    return bytes((len(body) + 2, 0)) + body


def _attributes(node: _Node) -> bytes:
    links = 1 if node.source else 2 + sum(1 for child in node.children.values() if not child.source)
    return b"PX\x24\x01" + _both4(_MODES[not node.source]) + _both4(links) + _both4(0) + _both4(0)


def _primary(root: _Node, blocks: int, table: int, places: list[int]) -> bytes:
    """Give the primary volume descriptor (ECMA-119, 8.4)."""
    text = b"\x01CD001\x01\0" + b" " * 32 + b"WEAKLINK".ljust(32) + bytes(8) + _both4(blocks) + bytes(32)
    text += _both2(1) + _both2(1) + _both2(_BLOCK) + _both4(table)
    text += struct.pack("<II", places[0], 0) + struct.pack(">II", places[1], 0)
    text += _record(root, b"\0", b"")
    text += b" " * (128 * 4 + 37 * 3) + _NO_DATE * 4 + b"\x01"
    return _whole(text)


def _even(text: bytes) -> bytes:
    return text + bytes(len(text) % 2)


def _whole(content: bytes) -> bytes:
    return content + bytes(-len(content) % _BLOCK)


def _both2(number: int) -> bytes:
    return struct.pack("<H", number) + struct.pack(">H", number)


def _both4(number: int) -> bytes:
    return struct.pack("<I", number) + struct.pack(">I", number)
