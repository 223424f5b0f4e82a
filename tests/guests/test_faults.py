"""Some of the faults of ``just faults``, once each."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import campaign
from tests.faults.scene import References

pytestmark = pytest.mark.timeout(900)

QUICK = [kind for kind in campaign.KINDS if kind.quick]


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory) -> References:
    return References(tmp_path_factory.mktemp("undisturbed"))


@pytest.mark.parametrize("kind", QUICK, ids=lambda kind: kind.name)
def test_a_fault_has_its_name_and_does_no_harm(kind: campaign.Kind, references: References, tmp_path: Path) -> None:
    told = campaign.repeat(kind, "linux", 4, tmp_path / "place", references)
    assert not told.wrong
    assert (told.orphans, told.lost, told.figures) == (0, 0, 0)
