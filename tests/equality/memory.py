"""A guest's memory as QEMU's monitor hands it out, read while the guest is stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from qemu.qmp import QMPClient

_ANSWER_S: Final = 30.0
_MOST: Final = 64 << 20


class Memory:
    """Reads the memory of the guest behind a control socket, at virtual addresses; ``folder`` takes QEMU's files.

    To be used as a context: the guest stands still in it, and goes on afterwards.
    """

    def __init__(self, socket: Path, folder: Path) -> None:
        self._socket, self._folder, self._reads = socket, folder, 0
        self._loop = asyncio.new_event_loop()
        self._client = QMPClient("equality")

    def __enter__(self) -> Memory:
        self._do(self._client.connect(str(self._socket)))
        self._do(self._client.execute("stop"))
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._client.execute("cont"))
        self._do(self._client.disconnect())
        self._loop.close()

    def _do(self, what: object) -> object:
        return self._loop.run_until_complete(asyncio.wait_for(what, _ANSWER_S))  # type: ignore[arg-type]

    def read(self, address: int, size: int) -> bytes:
        """Give ``size`` bytes; ``ValueError`` for what no guest needs, ``OSError`` where QEMU wrote less."""
        if not 0 < size <= _MOST:
            raise ValueError(f"{size} bytes of a guest's memory")
        self._reads += 1
        file = self._folder / f"memory{self._reads}"
        words = {"val": address, "size": size, "filename": str(file)}
        self._do(self._client.execute("memsave", words))
        found = file.read_bytes()
        file.unlink()
        if len(found) != size:
            raise OSError(f"only {len(found)} of {size} bytes at {address:x}")
        return found

    def word(self, address: int) -> int:
        """Give a pointer or any other 8 bytes."""
        return int.from_bytes(self.read(address, 8), "little")

    def words(self, address: int, offsets: Sequence[int]) -> list[int]:
        """Give the 8 bytes at each offset from an address."""
        block = self.read(address, max(offsets) + 8)
        return [int.from_bytes(block[at : at + 8], "little") for at in offsets]

    def text(self, address: int, most: int = 256) -> str:
        """Give a string that ends in a zero byte."""
        return self.read(address, most).split(b"\0")[0].decode("ascii", errors="replace")
