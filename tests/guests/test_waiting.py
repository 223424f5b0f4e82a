"""An app whose threads wait for locks, and that sends packets, a known number of times: on every kernel at hand."""

from __future__ import annotations

import pandas as pd
import pytest

from probes.recording import Recording
from tests.guests.common import events_of, kind_of, record, spec_of
from tests.guests.test_outcomes import KINDS

pytestmark = pytest.mark.timeout(300)

WAITERS, FUTEXES, WRITERS, DATAGRAMS, CONNECTIONS = 13, 11, 5, 17, 19
HELD, CHANGED, INODE, PACKETS, CONNECTED = range(1, 6)  # phases
BYTES, HEADERS, ETHERNET = 100, 20 + 8, 14  # of a datagram: its data, IPv4 and UDP, and what Linux's loopback adds
SPIN_LOCKS = {"native_queued_spin_lock_slowpath", "queued_read_lock_slowpath", "queued_write_lock_slowpath",
              "_mtx_lock_spin_cookie", "thread_lock_flags_"}  # fmt: skip


@pytest.fixture(scope="module", params=KINDS)
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return record("waiting", spec_of(request.param), tmp_path_factory.mktemp("waiting"))


def waits(seen: Recording, phase: int | None = None) -> pd.DataFrame:
    """The waits of a phase, or all: one row each, with the name of the lock ("" for none) and how it went."""
    events = events_of(seen)
    events = events[events["kind"].isin(["lock-contended", "lock-acquired"])]
    locks = seen.frame("locks").set_index("address")["name"].astype(str)
    events = events.assign(lock=events["value"].map(locks).fillna(""))
    return events if phase is None else events[events["phase"] == phase]


def ended(events: pd.DataFrame) -> dict[tuple[str, str], int]:
    """How often each (lock, how) is there, of waits that end."""
    these = events[events["kind"] == "lock-acquired"].groupby(["lock", "how"]).size()
    return {(str(lock), str(how)): int(count) for (lock, how), count in these.items()}


def begun(events: pd.DataFrame) -> dict[tuple[str, str], int]:
    """How often each (lock, whose) is there, of waits that begin."""
    these = events[events["kind"] == "lock-contended"].groupby(["lock", "how"]).size()
    return {(str(lock), str(how)): int(count) for (lock, how), count in these.items()}


def test_nothing_odd_happened(seen: Recording) -> None:
    statuses = dict(zip(seen.phases["name"].astype(str), seen.phases["status"].astype(str), strict=True))
    assert {name for name, status in statuses.items() if status != "ok"} <= {"changed", "inode"}
    assert kind_of(seen) != "linux" or set(statuses.values()) == {"ok"}
    assert not any(seen.manifest["probe"]["trouble"].values())  # type: ignore[typeddict-item]
    able = seen.manifest["probe"]["capabilities"]
    for name in ("lock slow paths", "which lock", "packets", "packet sizes"):
        assert able[name]["available"], name
    missing = {entry["what"].split()[0] for entry in seen.manifest["probe"]["not_hooked"]}
    assert not {kind for kind in missing if kind.startswith(("lock", "packet"))}


def test_each_wait_begins_once_and_ends_once(seen: Recording) -> None:
    events = waits(seen)
    begins = events["kind"] == "lock-contended"
    depth = begins.map({True: 1, False: -1}).groupby(events["thread"]).cumsum()
    assert begins.sum() > 30
    assert (depth >= 0).all()
    level = depth.where(begins, depth + 1)  # of a wait within waits
    before = events.groupby([events["thread"], level])[["kind", "name", "value"]].shift()
    assert (before.loc[begins, "kind"] != "lock-contended").all(), "begun twice"
    assert (before.loc[~begins, "kind"] == "lock-contended").all(), "ended without having begun"
    assert (before.loc[~begins, ["name", "value"]] == events.loc[~begins, ["name", "value"]]).all(axis=None)
    still = events.assign(depth=depth).groupby("thread").tail(1)
    assert still["depth"].max() <= 1, "only who waits at the end has not ended"


def test_so_many_threads_wait_for_the_mutex_that_one_holds(seen: Recording) -> None:
    held = waits(seen, HELD)
    names = [name for name in set(held["lock"]) if "waiting_mutex" in name]
    (name,) = names  # and not waiting_mutex+8
    pointed = kind_of(seen) == "freebsd" or seen.manifest["guest"]["runtime"] == "libc"
    assert name == ("*waiting_mutex" if pointed else "waiting_mutex")
    assert {key: count for key, count in begun(held).items() if key[0] == name} == {(name, "user"): WAITERS}
    assert {key: count for key, count in ended(held).items() if key[0] == name} == {(name, "slept"): WAITERS}
    of_mutex = held[held["lock"] == name]
    assert of_mutex["thread"].nunique() == WAITERS
    assert set(of_mutex["name"]) <= {"futex_wait", "do_lock_umutex", "_ZN8lockfree5mutex4lockEv",
                                     "_Z5futexPiiiPK8timespecS_j"}  # fmt: skip
    first_end = of_mutex[of_mutex["kind"] == "lock-acquired"].index[0]
    last_begin = of_mutex[of_mutex["kind"] == "lock-contended"].index[-1]
    assert last_begin < first_end, "main has it until all wait"


def test_whoever_finds_the_futex_changed_does_not_sleep(seen: Recording) -> None:
    changed = [key for key in ended(waits(seen, CHANGED)) if key[0].startswith("waiting_word")]
    if kind_of(seen) != "linux":
        assert changed == []
        return
    assert [how for _, how in changed] == ["spun"]
    assert ended(waits(seen, CHANGED))[changed[0]] == FUTEXES


def test_so_many_threads_wait_for_the_kernels_lock(seen: Recording) -> None:
    if kind_of(seen) != "linux":
        pytest.skip("it cannot be made to hold a lock that long")
    inode = waits(seen, INODE)
    inode = inode[inode["name"] == "rwsem_down_write_slowpath"]
    assert inode.groupby(["kind", "how"]).size().to_dict() == {
        ("lock-contended", "kernel"): WRITERS, ("lock-acquired", "slept"): WRITERS}  # fmt: skip
    assert inode["value"].nunique() == 1
    assert inode["value"].max() < 0, "an address of the kernel's"
    assert inode["thread"].nunique() == WRITERS


def test_locks_of_freebsd_have_the_names_that_it_gives_them(seen: Recording) -> None:
    if kind_of(seen) != "freebsd":
        pytest.skip("it is not FreeBSD")
    kernel = waits(seen)
    kernel = kernel[(kernel["kind"] == "lock-contended") & (kernel["how"] == "kernel")]
    assert len(kernel) > CONNECTIONS
    assert (kernel["value"] < 0).all()
    assert "" not in set(kernel["lock"])
    assert begun(waits(seen, CONNECTED))["tcpinp", "kernel"] >= CONNECTIONS


def test_nobody_spins_on_one_processor(seen: Recording) -> None:
    assert not SPIN_LOCKS & set(waits(seen)["name"])


def test_each_datagram_is_a_packet_sent_and_one_received(seen: Recording) -> None:
    events = events_of(seen)
    packets = events[(events["kind"] == "packet") & (events["phase"] == PACKETS)]
    lengths = packets.groupby("how")["value"].agg(["size", "min", "max"])
    received = BYTES + HEADERS
    sent = received + (ETHERNET if kind_of(seen) == "linux" else 0)
    assert lengths.to_dict("index") == {
        "sent": {"size": DATAGRAMS, "min": sent, "max": sent},
        "received": {"size": DATAGRAMS, "min": received, "max": received},
    }
    order = packets["how"].tolist()
    assert order == ["sent", "received"] * DATAGRAMS


def test_all_that_is_sent_is_received(seen: Recording) -> None:
    events = events_of(seen)
    packets = events[events["kind"] == "packet"]
    counts = packets["how"].value_counts().to_dict()
    assert counts["sent"] > 2 * DATAGRAMS
    assert abs(counts["sent"] - counts["received"]) <= 1, "all but what is under way at the end"
    assert packets["value"].min() > 0


def test_each_connection_is_as_many_packets(seen: Recording) -> None:
    events = events_of(seen)
    packets = events[(events["kind"] == "packet") & (events["phase"] == CONNECTED)]
    counts = packets["how"].value_counts().to_dict()
    assert counts["sent"] == counts["received"]
    assert counts["sent"] % CONNECTIONS == 0
    assert counts["sent"] // CONNECTIONS >= 6, "three to open it, three or four to close it"
    assert packets["value"].min() >= 40
