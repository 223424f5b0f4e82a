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


def quit_politely(process: subprocess.Popen[bytes], socket: Path) -> int | None:
    """Ask QEMU to quit and wait for it: its exit code, or None when it would not and had to be killed."""
    agreed = process.poll() is not None or _ask(socket)
    try:
        return process.wait(FLUSH_S if agreed else ANSWER_S)
    except subprocess.TimeoutExpired:
        kill(process)
        return None


def kill(process: subprocess.Popen[bytes]) -> None:
    """End QEMU at once and reap it.  Never leaves it running, whatever interrupts the wait."""
    if process.poll() is None:
        process.kill()
        process.wait()


def _ask(socket: Path) -> bool:
    """Send ``quit``; whether QEMU took it."""
    import asyncio

    from qemu.qmp import QMPClient, QMPError

    for name in ("qemu.qmp", "asyncio"):  # a connection that ends on quit, or before it, is no news
        logging.getLogger(name).setLevel(logging.CRITICAL)

    async def conversation() -> bool:
        client = QMPClient("weaklink")
        await client.connect(str(socket))
        try:
            await client.execute("quit")
        finally:
            await client.disconnect()
        return True

    async def limited() -> bool:
        return await asyncio.wait_for(conversation(), ANSWER_S)

    try:
        return asyncio.run(limited())
    except (QMPError, OSError, EOFError, TimeoutError, AssertionError):
        return False  # the last of them is qemu.qmp's own, when QEMU ends meanwhile
