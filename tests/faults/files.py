"""What happens to recordings on the disk: cut short, a bit flipped, written by a later version."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from probes import recording
from tests.faults.kind import Kind
from tests.faults.outside import WORDS
from tests.faults.scene import FINISHED, SEEDS, STRUCK, Scene, page, run_words

_FILES: Final = ("manifest.json", *(f"{table}.parquet" for table in recording.TABLES), recording.CONSOLE)


def _chosen(scene: Scene, place: Path) -> Path:
    return place / _FILES[scene.number % len(_FILES)]


def _cut(scene: Scene, place: Path) -> None:
    file = _chosen(scene, place)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) * (1 + scene.number % 7) // 8])


def _flip(scene: Scene, place: Path) -> None:
    file = _chosen(scene, place)
    whole = bytearray(file.read_bytes())
    at = int.from_bytes(hashlib.sha256(str(scene.number).encode()).digest()[:8]) % (8 * len(whole))
    whole[at // 8] ^= 1 << at % 8
    file.write_bytes(whole)


def _from_the_future(scene: Scene, place: Path) -> None:
    """Whole, and of a schema that nobody knows yet."""
    file = place / "manifest.json"
    manifest: dict[str, Any] = json.loads(file.read_bytes())
    manifest["schema"] += 1 + scene.number % 10
    file.write_text(json.dumps(manifest))
    sums = place / recording.SUMS
    lines = [line for line in sums.read_text().splitlines() if not line.endswith(f" {file.name}")]
    sums.write_text("\n".join([*lines, f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}", ""]))


def _damaged(damage: Callable[[Scene, Path], None], said: str, scene: Scene) -> None:
    """Every verb refuses it by its name, and shows the others; the same run makes it again."""
    scene.finished(WORDS)
    scene.remember()
    scene.finished(WORDS, (STRUCK,))
    (place,) = [path for path in recording.find(scene.out) if path.name == f"seed-{STRUCK}"]
    damage(scene, place)
    checked = scene.weaklink("verify", str(scene.out))
    scene.expect(checked, 22, "1 of 3 recordings cannot be read", f"seed-{STRUCK}", said)
    if checked.said.count("checks hold") != len(FINISHED):
        scene.wrong.append("the others were not verified")
    page(scene, [said], failed=True, code=22)
    scene.expect(scene.weaklink(*run_words(WORDS, scene.guest, SEEDS, scene.out)), 0, "recorded again")
    scene.count_orphans()
    scene.count_lost()
    scene.leftovers()
    scene.count_figures(WORDS, (1, 2, 3))


KINDS: Final = (
    Kind("truncated-recording", "a file of a recording is cut short", partial(_damaged, _cut, "seed-2")),
    Kind("flipped-bit", "one bit of a recording is flipped", partial(_damaged, _flip, "seed-2"), quick=True),
    Kind("future-schema", "a recording of a later version", partial(_damaged, _from_the_future, "schema")),
)
