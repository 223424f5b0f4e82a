"""Has faults happen, some at the same time, and says how it goes."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import images
from tests.faults import files, host, inside, outside
from tests.faults.judge import Row, Told
from tests.faults.kind import Kind
from tests.faults.scene import NoStrike, References, Scene

KINDS: tuple[Kind, ...] = (*outside.KINDS, *inside.KINDS, *host.KINDS, *files.KINDS)
_speaking = threading.Lock()


def guest_of(kind: str) -> str:
    """Give the first guest of a kind of kernel that is here, or nothing."""
    ready = {guest.name: guest.kind for guest in images.list_guests() if guest.state == "ready"}
    return kind if kind in ready else next((name for name, of in ready.items() if of == kind), "")


def run(kinds: Sequence[Kind], guests: Sequence[str], repetitions: int, out: Path, jobs: int) -> list[Row]:
    """Cause each of ``kinds`` so often on each of ``guests`` (kinds of kernels) that it is for."""
    references = References(out / "undisturbed")
    rows: list[tuple[Kind, str, str]] = []
    for kind in kinds:
        for wanted in kind.guests:
            if wanted in guests:
                rows.append((kind, wanted, guest_of(wanted)))
    done: dict[tuple[str, str], list[Told]] = {(kind.name, wanted): [] for kind, wanted, _ in rows}

    def one(kind: Kind, wanted: str, guest: str, number: int) -> None:
        told = repeat(kind, guest, number, out / kind.name / wanted / str(number), references)
        with _speaking:
            done[kind.name, wanted].append(told)
            count = sum(len(one) for one in done.values())
            word = "; ".join(told.wrong)[:200] if told.wrong else "right"
            print(f"[{count}/{total}] {kind.name} on {guest}, {number}: {word} ({told.seconds:.0f} s)", file=sys.stderr)

    work = [(kind, wanted, guest, number) for kind, wanted, guest in rows if guest for number in range(repetitions)]
    total = len(work)
    with ThreadPoolExecutor(max(1, jobs)) as pool:
        for finished in [pool.submit(one, *each) for each in work]:
            finished.result()
    return [
        Row(kind.name, guest or wanted, tuple(done[kind.name, wanted]), "" if guest else f"no {wanted} kernel here")
        for kind, wanted, guest in rows
    ]


def repeat(kind: Kind, guest: str, number: int, place: Path, references: References) -> Told:
    """Cause a fault once, and judge it; whatever goes wrong with that is wrong, and does not stop the others."""
    began, scene = time.monotonic(), Scene(place, guest, number, references)
    try:
        kind.happen(scene)
    except NoStrike as reason:
        scene.wrong.append(f"not struck: {reason}")
    except Exception as error:
        scene.wrong.append(f"{type(error).__name__}: {error}"[:300])
    finally:
        scene.count_orphans()
        scene.close()
    return Told(tuple(scene.wrong), scene.orphans, scene.lost, scene.figures, time.monotonic() - began)
