"""What became of the runs of a campaign that are no recordings, from ``campaign.json``: shown, never trusted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from analysis.views.failures import Failure

_STATES: Final = {
    "failed": "failed",
    "interrupted": "interrupted",
    "running": "not finished: weaklink was killed, or is still at it",
    "given up": "not tried: runs of this guest before it failed",
    "waiting": "not reached",
}


def of(root: Path) -> list[Failure]:
    """Give the runs of the last campaign in ``root`` that have no recording; none where nobody wrote it down."""
    from profiler.cli.recordings import campaign

    try:
        return [_failure(run) for run in campaign(root)["runs"] if run.get("state") in _STATES]
    except (LookupError, TypeError, AttributeError):
        return []


def _failure(run: dict[str, Any]) -> Failure:
    from analysis.views.failures import Failure

    error = run.get("error")
    error = error if isinstance(error, dict) else {}
    text = {key: str(error.get(key, "")) for key in ("name", "message", "hint")}
    trace = f"\n{run['trace']}" if "trace" in run else ""
    state = _STATES[run["state"]]
    return Failure(
        f"{run.get('app')} on {run.get('guest')}, seed {run.get('seed')}", text["name"] or state,
        f"{text['message'] or state}{trace}", text["hint"],
    )  # fmt: skip
