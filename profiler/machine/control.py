"""Ending QEMU: politely over QMP, so that the probe can write its last bytes, else by its process handle."""

from __future__ import annotations

import logging
import subprocess
from pathlib import Path
from typing import Final

ANSWER_S: Final = 10.0
"""How long QEMU may take to answer on its control socket, in seconds."""

FLUSH_S: Final = 60.0
"""How long QEMU may take to end once it has agreed to: the probe writes its tables then."""


def quit_politely(process: subprocess.Popen[bytes], socket: Path, *, patience_s: float = ANSWER_S) -> int | None:
    """Ask QEMU to quit and wait for it: its exit code, or None when it would not and had to be killed.

    ``patience_s``: how long one that does not answer may take to end by itself.
    """
    agreed = process.poll() is not None or _ask(socket)
    try:
        return process.wait(FLUSH_S if agreed else patience_s)
    except subprocess.TimeoutExpired:
        kill(process)
        return None


def kill(process: subprocess.Popen[bytes]) -> None:
    """End QEMU at once and reap it.  Never leaves it running, whatever interrupts the wait."""
    if process.poll() is None:
        process.kill()
        process.wait()


def _ask(socket: Path) -> bool:
    """Send ``quit``; whether QEMU took it, or ended its end of the talk instead of answering."""
    import asyncio

    from qemu.qmp import QMPClient, QMPError

    for name in ("qemu.qmp", "asyncio"):  # a connection that ends on quit, or before it, is no news
        logging.getLogger(name).setLevel(logging.CRITICAL)

    talked = False

    async def conversation() -> None:
        nonlocal talked
        client = QMPClient("weaklink")
        await client.connect(str(socket))
        talked = True
        try:
            await client.execute("quit")
        finally:
            await client.disconnect()

    async def limited() -> None:
        await asyncio.wait_for(conversation(), ANSWER_S)

    try:
        asyncio.run(limited())
    except TimeoutError:
        return False
    except (QMPError, OSError, EOFError, AssertionError):
        return talked  # the last of them is qemu.qmp's own, when QEMU ends meanwhile
    return True
