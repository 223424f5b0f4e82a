"""Maps by names alone: known functions of OSv have known layers, and rules that mean nothing are refused."""

from __future__ import annotations

import pytest

from probes import maps
from probes.maps import rules
from probes.maps.byname import NameMap
from profiler.errors import WeaklinkError


# What a developer of the kernel would say of well-known functions.
@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("_ZN5sched3cpu25reschedule_from_interruptEbNSt6chrono8durationIlSt5ratioILl1ELl1000000000EEEE", "sched"),
        ("_ZN5sched6thread9switch_toEv", "sched"), ("fpu_state_save_xsave", "sched"),
        ("_ZN5sched3cpu7do_idleEv", "idle"), ("_ZN5sched10timer_base6cancelEv", "timer"),
        ("_ZN5sched6threadC2ESt8functionIFvvEENS0_4attrEbb", "process"),
        ("_ZN8lockfree5mutex4lockEv", "lock"), ("_ZN6rwlock5rlockEv", "lock"), ("mtx_lock", "lock"),
        ("_ZN7condvar4waitEPN8lockfree5mutexEPN5sched5timerE", "wait-queue"), ("epoll_wait", "wait-queue"),
        ("_Z5futexPiiiPK8timespecS_j", "wait-queue"), ("_ZN4file10wake_epollEi", "wait-queue"),
        ("_ZN3mmu8vm_faultEmP15exception_frame", "mm-fault"), ("page_fault", "mm-fault"), ("mmap", "mm-fault"),
        ("_ZN6memory4pool5allocEv", "mm-alloc"), ("malloc", "mm-alloc"), ("_Znwm", "mm-alloc"),
        ("uma_zalloc_arg", "mm-alloc"), ("syscall_entry", "entry"), ("ex_pf", "entry"), ("[.plt]", "entry"),
        ("interrupt", "irq"), ("namei", "vfs"), ("_Z4fgetiPP4file", "vfs"), ("pread", "vfs"), ("openat", "vfs"),
        ("ramfs_lookup", "fs"), ("uiomove", "copy"), ("memcpy_repmov_old_ssse3", "copy"), ("strlen", "copy"),
        ("_ZN11pipe_buffer5writeEP3uiob", "ipc"), ("tcp_output", "net"), ("ip_input", "net"), ("m_copym", "net"),
        ("soreceive_generic", "socket"), ("sbwait", "socket"), ("recvfrom", "socket"),
        ("sbcompress.part.0", "socket"), ("clock_gettime", "time"), ("nanosleep", "timer"),
        ("_ZN16hpet_64bit_clock6uptimeEv", "time"), ("_Z9mmio_getqPVv", "emulation"),
        ("_ZN9processor5xapic5writeENS_7apicregEj", "emulation"), ("pthread_mutex_lock", "libc"),
        ("expf", "libc"), ("__errno_location", "libc"), ("sigprocmask", "process"), ("SHA256_Transform", "security"),
        ("getppid", "process"), ("mystery", "unattributed"), ("[idle]", "idle"), ("[unknown]", "unattributed"),
    ],
)  # fmt: skip
def test_known_functions_of_osv(name: str, layer: str) -> None:
    known = maps.load("osv")
    assert known.layer(name) == layer, known.explain(name)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        # A hash table of the epoll's keys, a tree of ramfs's segments, a list of nobody's.
        ("_ZNSt6vectorI9epoll_keySaIS0_EE9push_backERKS0_", "wait-queue"),
        ("_ZNSt8functionIFvN5sched6threadEEE4swapERS2_", "sched"),
        ("_ZNSt8__detail15_List_node_base7_M_hookEPS0_", "libc"),
        ("_ZNSt5dequeIcSaIcEE8_M_eraseESt15_Deque_iteratorIcRcPcES5_", "ipc"),
    ],
)
def test_an_instance_of_a_library_template_is_its_arguments(name: str, layer: str) -> None:
    known = maps.load("osv")
    assert known.layer(name) == layer, known.explain(name)


def test_the_most_specific_rule_wins_and_a_tie_decides_nothing() -> None:
    text = """
    [vfs]
    patterns = ["a_*", "b_*x"]
    [fs]
    patterns = ["a_b*", "b_y*"]
    [ipc]
    symbols = ["a_bc"]
    [net]
    patterns = ["c_*e", "c_d*"]
    [socket]
    patterns = ["c_*f*"]
    [lock]
    patterns = ["c_*g*"]
    """
    known = NameMap(rules.parse(text), ())
    assert known.layers(["a_c", "a_bd", "a_bc", "a_bc.part.0", "b_x", "b_yx", "c_dfg", "z"]).tolist() == [
        "vfs", "fs", "ipc", "ipc", "vfs", "fs", "net", "unattributed",
    ]  # fmt: skip
    assert known.explain("c_fg") == ("unattributed", "patterns disagree: c_*f* c_*g*", "")
    assert known.explain("a_bd") == ("fs", "pattern a_b*", "")


@pytest.mark.parametrize(
    ("text", "says"),
    [("[vfs]\nfiles = ['a.c']", "without an index"), ("[vfs]\ndirectories = ['a/']", "without an index")],
)
def test_rules_of_sources_are_refused_where_there_is_no_index(text: str, says: str) -> None:
    with pytest.raises(WeaklinkError, match=says):
        NameMap(rules.parse(text), ())


def test_rules_can_be_shared_but_say_nothing_twice() -> None:
    shared = "[net]\npatterns = ['tcp_*']"
    assert rules.included("include = ['bsd.toml']\n[net]\nsymbols = ['f']") == ["bsd.toml"]
    assert rules.parse("include = ['bsd.toml']\n[net]\nsymbols = ['f']", shared).patterns == {"tcp_*": "net"}
    with pytest.raises(WeaklinkError, match="again in"):
        rules.parse("[socket]\npatterns = ['tcp_*']", shared)
    with pytest.raises(WeaklinkError, match="not a list of text"):
        rules.included("include = 'bsd.toml'")
