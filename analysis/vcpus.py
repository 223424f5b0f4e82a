"""What has to be said of recordings of guests with several vCPUs: they are statistical."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def statistical(manifest: Mapping[str, Any]) -> str:
    """A sentence on what no reader may take for exact; empty for a recording of one vCPU."""
    if not manifest["probe"].get("statistical", False):
        return ""
    return (f"statistical: {manifest['qemu']['vcpus']} vCPUs ran at the same time, so that no two runs are alike, not"
            " even of one seed; time is the host's, in ns")  # fmt: skip
