"""Maps by names alone: known functions have known layers, and rules that mean nothing are refused."""

from __future__ import annotations

import subprocess
import sys

import pytest

from probes import maps
from probes.maps import rules
from probes.maps.byname import NameMap
from profiler.errors import ToolMissing, WeaklinkError


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
        ("fast_syscall_common", "entry"), ("Xpage", "entry"), ("amd64_syscall", "entry"), ("doreti_iret", "entry"),
        ("trap_pfault", "mm-fault"), ("vm_fault", "mm-fault"), ("pmap_enter", "mm-fault"), ("kern_mmap", "mm-fault"),
        ("pmap_zero_page", "mm-alloc"), ("uma_zalloc_arg", "mm-alloc"), ("malloc", "mm-alloc"),
        ("vm_page_alloc_domain_iter", "mm-alloc"), ("vm_page_grab_valid", "page-cache"), ("getblkx", "page-cache"),
        ("copyin_smap_erms", "copy"), ("memcpy_erms", "copy"), ("uiomove_faultflag", "copy"),
        ("sched_ule_add", "sched"), ("cpu_switch", "sched"), ("mi_switch", "sched"), ("fpurestore_xrstor", "sched"),
        ("pmap_activate_sw", "sched"),
        ("sched_ule_idletd", "idle"), ("cpu_idle_acpi", "idle"), ("__mtx_lock_sleep", "lock"),
        ("_sx_xlock_hard", "lock"), ("__rw_wlock_hard", "lock"), ("lockmgr_xlock_hard", "lock"),
        ("turnstile_wait", "lock"), ("_epoch_enter_preempt", "lock"), ("sleepq_add", "wait-queue"),
        ("wakeup", "wait-queue"), ("_cv_wait", "wait-queue"), ("kqueue_register", "wait-queue"),
        ("do_lock_umutex", "wait-queue"), ("kern_poll", "wait-queue"), ("pipe_write", "ipc"), ("eventfd_read", "ipc"),
        ("fget_unlocked", "vfs"), ("cache_fplookup", "vfs"), ("vn_read", "vfs"), ("VOP_READ_APV", "vfs"),
        ("sys_openat", "vfs"), ("tmpfs_lookup1", "fs"), ("shm_read", "fs"), ("ffs_write", "fs"),
        ("g_io_request", "block"), ("tcp_default_output", "net"), ("ip_output", "net"), ("m_copym", "net"),
        ("netisr_dispatch_src", "net"), ("soreceive_stream", "socket"), ("sbappendstream_locked", "socket"),
        ("uipc_sosend_stream_or_seqpacket", "socket"), ("soo_read", "socket"), ("fork1", "process"),
        ("thread_alloc", "process"), ("exec_elf64_imgact", "process"), ("kern_execve", "process"),
        ("kern_sigprocmask", "process"), ("sys_getppid", "process"), ("binuptime", "time"),
        ("kern_clock_gettime", "time"), ("tsc_get_timecount", "time"), ("hpet_get_timecount", "emulation"),
        ("callout_process", "timer"), ("hardclock", "timer"), ("kern_nanosleep", "timer"), ("lapic_et_start", "timer"),
        ("intr_event_handle", "irq"), ("lapic_handle_intr", "irq"), ("ithread_loop", "irq"), ("tty_ioctl", "driver"),
        ("printf", "driver"), ("acpi_timer_probe", "driver"), ("mac_vnode_check_read", "security"),
        ("priv_check_cred", "security"), ("handle_ibrs_entry", "security"), ("racct_add", "accounting"),
        ("counter_u64_alloc", "accounting"), ("mystery", "unattributed"),
    ],
)  # fmt: skip
def test_known_functions_of_freebsd(name: str, layer: str) -> None:
    known = maps.load("freebsd")
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


def test_without_a_demangler_no_layer_is_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("probes.names.can_demangle", lambda: False)
    known = NameMap(rules.parse("[sched]\npatterns = ['sched*']"), ())
    assert known.layer("sched_yield") == "sched"
    with pytest.raises(ToolMissing, match="C\\+\\+") as caught:
        known.layer("_ZN5sched3cpu8scheduleEv")
    assert "libstdc++6" in caught.value.hint


def test_coverage_of_a_map_by_names_wants_a_ledger() -> None:
    command = [sys.executable, "-m", "probes.maps.coverage", "osv"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (answer.returncode, "give a LEDGER" in answer.stderr) == (2, True)


def test_rules_can_be_shared_but_say_nothing_twice() -> None:
    shared = "[net]\npatterns = ['tcp_*']"
    assert rules.included("include = ['bsd.toml']\n[net]\nsymbols = ['f']") == ["bsd.toml"]
    assert rules.parse("include = ['bsd.toml']\n[net]\nsymbols = ['f']", shared).patterns == {"tcp_*": "net"}
    with pytest.raises(WeaklinkError, match="again in"):
        rules.parse("[socket]\npatterns = ['tcp_*']", shared)
    with pytest.raises(WeaklinkError, match="not a list of text"):
        rules.included("include = 'bsd.toml'")
