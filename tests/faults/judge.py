"""What the repetitions of one kind on one guest come to, and the table of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_HEAD = ("kind", "guest", "class right", "orphans", "lost", "wrong figures", "seconds", "")


@dataclass(frozen=True)
class Told:
    """One repetition: what was wrong, in words and in counts, and how many wall seconds it took."""

    wrong: tuple[str, ...]
    orphans: int
    lost: int
    figures: int
    seconds: float


@dataclass(frozen=True)
class Row:
    """All repetitions of a kind on a guest; ``why`` says why there are none."""

    kind: str
    guest: str
    told: tuple[Told, ...] = ()
    why: str = ""

    @property
    def right(self) -> int:
        """Repetitions of which nothing was wrong."""
        return sum(not one.wrong and not one.orphans and not one.lost and not one.figures for one in self.told)

    @property
    def miss(self) -> bool:
        """Whether not every repetition was right."""
        return not self.why and (not self.told or self.right < len(self.told))


def table(rows: Sequence[Row]) -> str:
    """Give the table, in the order of ``rows``, and below it what was wrong."""
    lines = [_HEAD]
    for row in rows:
        if row.why:
            lines.append((row.kind, row.guest, "not judged", "", "", "", "", row.why))
            continue
        counts = [str(sum(getattr(one, name) for one in row.told)) for name in ("orphans", "lost", "figures")]
        seconds = f"{sum(one.seconds for one in row.told) / max(1, len(row.told)):.0f}"
        verdict = "MISS" if row.miss else "right"
        lines.append((row.kind, row.guest, f"{row.right} of {len(row.told)}", *counts, seconds, verdict))
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    shown = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    for row in rows:
        shown += [f"  {row.kind} on {row.guest}, repetition {number}: {'; '.join(one.wrong)[:600]}"
                  for number, one in enumerate(row.told) if one.wrong]  # fmt: skip
    judged = [row for row in rows if not row.why]
    misses = sum(row.miss for row in judged)
    return "\n".join([*shown, f"{len(judged)} rows judged, {misses} not right"])
