"""The crowd on each kernel: each phase does what app.toml says, and its series are there to be compared."""

from __future__ import annotations

import pytest

from analysis.series import series
from probes.recording import Recording
from tests.guests.common import failed, record, spec_of

pytestmark = pytest.mark.timeout(300)

CHOSEN = ("mutex-3", "mutex-16", "herd-1", "herd-4", "server-2", "server-64")


@pytest.fixture(scope="module", params=("linux", "osv:libc", "freebsd"))
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return record("crowd", spec_of(request.param), tmp_path_factory.mktemp("crowd"), "--phases", ",".join(CHOSEN))


def test_each_phase_does_what_it_says(seen: Recording) -> None:
    assert failed(seen) == []
    assert dict(zip(seen.phases["name"].astype(str), seen.phases["status"].astype(str), strict=True)) == (
        dict.fromkeys(CHOSEN, "ok")
    )


def test_more_descriptors_are_more_work(seen: Recording) -> None:
    found, _ = series([seen])
    costs = {one.name: {load: cost.mean for load, cost in one.curves[0].costs.items()} for one in found}
    assert {name: list(loads) for name, loads in costs.items()} == {"mutex": [3, 16], "herd": [1, 4], "server": [2, 64]}
    assert costs["herd"][4] > costs["herd"][1]
    assert costs["server"][64] > 1.5 * costs["server"][2]
    assert costs["mutex"][16] < 1.5 * costs["mutex"][3], "a mutex costs the same among many"
    assert all("too few" in curve.refused for one in found for curve in one.curves)
