"""Maps: every function of the index has one layer for a stated reason, and rules that are wrong are refused."""

from __future__ import annotations

import gzip
import string
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes import maps
from probes.events import LAYERS
from probes.maps import coverage, rules, vocabulary
from probes.maps.index import fold, invert, pack, unpack
from probes.maps.layers import Map, SourceMap
from probes.maps.sources import relative
from profiler.errors import WeaklinkError

names = st.text(string.ascii_letters + string.digits + "_", min_size=1, max_size=20)


@pytest.fixture(scope="module")
def linux() -> Map:
    return maps.load("linux")


def small(text: str, **files: str) -> Map:
    """A map of the rules and of the files given: ``a_b="f g"`` is the file a/b."""
    index = invert({path.replace("__", "/"): names.split() for path, names in files.items()})
    return SourceMap(rules.parse(text), index, ())


# What a kernel developer would say of well-known functions, in Linux 6.1 and 6.12.
@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("entry_SYSCALL_64", "entry"), ("do_syscall_64", "entry"), ("syscall_exit_to_user_mode", "entry"),
        ("asm_exc_page_fault", "entry"), ("_copy_to_user", "copy"), ("memcpy", "copy"), ("memset", "copy"),
        ("copy_page_from_iter", "copy"), ("vfs_read", "vfs"), ("do_sys_openat2", "vfs"), ("__fget_light", "vfs"),
        ("shmem_get_inode", "fs"), ("ramfs_create", "fs"), ("simple_lookup", "fs"), ("filemap_read", "page-cache"),
        ("xas_load", "page-cache"), ("submit_bio", "block"), ("tcp_sendmsg_locked", "net"), ("ip_rcv", "net"),
        ("loopback_xmit", "net"), ("__sys_sendto", "socket"), ("sock_alloc_send_pskb", "socket"),
        ("unix_stream_sendmsg", "socket"), ("pipe_write", "ipc"), ("eventfd_write", "ipc"), ("__schedule", "sched"),
        ("try_to_wake_up", "sched"), ("enqueue_task_fair", "sched"), ("__switch_to_asm", "sched"),
        ("switch_mm_irqs_off", "sched"), ("mutex_lock", "lock"), ("_raw_spin_lock_irqsave", "lock"),
        ("native_queued_spin_lock_slowpath", "lock"), ("rwsem_down_read_slowpath", "lock"), ("__rcu_read_lock", "lock"),
        ("futex_wait", "wait-queue"), ("__wake_up_common", "wait-queue"), ("do_epoll_wait", "wait-queue"),
        ("do_sys_poll", "wait-queue"), ("handle_mm_fault", "mm-fault"), ("exc_page_fault", "mm-fault"),
        ("do_mmap", "mm-fault"), ("unmap_vmas", "mm-fault"), ("flush_tlb_mm_range", "mm-fault"),
        ("_compound_head", "mm-fault"),
        ("mas_walk", "mm-fault"), ("clear_page_erms", "mm-alloc"), ("get_page_from_freelist", "mm-alloc"),
        ("kmem_cache_alloc_node", "mm-alloc"), ("copy_process", "process"), ("do_exit", "process"),
        ("do_send_sig_info", "process"), ("begin_new_exec", "process"), ("ktime_get_ts64", "time"),
        ("read_tsc", "time"), ("__get_task_ioprio", "vfs"),
        ("__x64_sys_clock_gettime", "time"), ("sched_clock_cpu", "time"),
        ("handle_softirqs", "irq"), ("__do_softirq", "irq"), ("sysvec_apic_timer_interrupt", "irq"),
        ("handle_edge_irq", "irq"), ("hrtimer_interrupt", "timer"), ("tick_sched_handle", "timer"),
        ("lapic_next_deadline", "timer"), ("serial8250_tx_chars", "driver"), ("__audit_syscall_entry", "security"),
        ("apparmor_file_permission", "security"), ("__seccomp_filter", "security"), ("__check_object_size", "security"),
        ("__x86_indirect_thunk_rax", "security"), ("__x86_return_thunk", "security"),
        ("crng_fast_key_erasure", "security"),
        ("cgroup_post_fork", "accounting"), ("__mod_node_page_state", "accounting"), ("psi_task_change", "accounting"),
        ("native_apic_mem_write", "emulation"), ("read_hpet", "emulation"), ("io_serial_out", "emulation"),
        ("do_idle", "idle"), ("default_idle", "idle"), ("[idle]", "idle"), ("[vdso]", "time"),
        ("[device-wait]", "device-wait"), ("[unknown]", "unattributed"), ("no_such_function", "unattributed"),
        ("__SCT__lsm_static_call_file_permission_3", "security"), ("__SCT__tp_func_sched_switch", "sched"),
    ],
)  # fmt: skip
def test_known_functions_are_where_a_kernel_developer_puts_them(linux: Map, name: str, layer: str) -> None:
    assert linux.layers([name]).tolist() == [layer], linux.explain(name)


def test_no_rule_is_dead(linux: Map) -> None:
    assert rules.dead(linux.rules, linux.sources) == []


def test_only_sources_may_match_many_symbols(linux: Map) -> None:
    by_rule = pd.Series([linux.explain(symbol)[1] for symbol in linux.sources]).value_counts()
    wide = by_rule[by_rule > rules.PATTERN_LIMIT].index.tolist()
    assert wide  # the limit means something
    assert {rule.partition(" ")[0] for rule in wide} <= {"file", "directory"}


def test_of_functions_weighted_alike_at_least_99_in_100_are_named(linux: Map) -> None:
    found = coverage.shares(linux, coverage.index(linux))["named"]
    for top in ("kernel", "mm", "fs", "net/core", "net/ipv4", "lib", "arch/x86", "security", "drivers"):
        assert found[top] >= 0.99, top


def test_every_source_file_has_a_layer(linux: Map) -> None:
    paths = {path for candidates in linux.sources.values() for path in candidates}
    assert {path for path in paths if linux.rules.of_source(path) is None} == {"[no-source]"}


def test_layers_are_of_the_vocabulary_and_all_but_three_are_in_use(linux: Map) -> None:
    used = set(linux.layers(list(linux.sources)).tolist())
    assert used == set(LAYERS) - {"user", "libc", "device-wait"}


@given(st.lists(st.sampled_from(["vfs_read", "memcpy", "nothing", "[idle]"]) | names, max_size=30))
def test_many_names_at_once_are_what_they_are_one_by_one(some: list[str]) -> None:
    known = maps.load("linux")
    found = known.layers(some)
    assert isinstance(found, np.ndarray)
    assert found.tolist() == [known.explain(name)[0] for name in some]


@given(names.filter(lambda name: not name.startswith(("__pfx_", "__cfi_", "__SCT__", "lsm_static_call_"))))
def test_a_clone_is_the_function_it_was_made_from(name: str) -> None:
    for clone in (".constprop.0", ".isra.0", ".part.12", ".cold", ".constprop.0.isra.0.cold", ""):
        assert fold(name + clone) == name
    assert fold("__pfx_" + name) == fold("__SCT__" + name) == name


@given(st.dictionaries(names, st.sets(names, min_size=1), min_size=1, max_size=6), st.permutations([1, 2, 3, 4, 5, 6]))
def test_the_index_is_the_same_bytes_whatever_the_order(files: dict[str, set[str]], order: list[int]) -> None:
    shuffled = dict(sorted(files.items(), key=lambda item: order[hash(item[0]) % 6]))
    assert pack(shuffled, ["b", "a"]) == pack(files, ["a", "b", "a"])
    assert unpack(pack(files, ["a"])) == ({path: sorted(files[path]) for path in sorted(files)}, ["a"])


@pytest.mark.parametrize(
    "data",
    [b"", b"no gzip", gzip.compress(b"path without symbols\n"), gzip.compress(b"a\tf\na\tg\n")],
    ids=["empty", "no gzip", "no symbols", "a file twice"],  # not the bytes: gzip puts the time into them
)
def test_what_is_no_index_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="index of sources"):
        unpack(data)


def test_the_most_specific_rule_wins() -> None:
    text = """
    [vfs]
    directories = ["fs/"]
    [fs]
    directories = ["fs/x/"]
    [ipc]
    files = ["fs/x/p.c"]
    [copy]
    patterns = ["c_*"]
    [lock]
    symbols = ["c_lock"]
    """
    known = small(text, **{"fs__o.c": "o", "fs__x__o.c": "x", "fs__x__p.c": "p c_copy c_lock"})
    assert known.layers(["o", "x", "p", "c_copy", "c_lock", "c_lock.cold"]).tolist() == [
        "vfs", "fs", "ipc", "copy", "lock", "lock",
    ]  # fmt: skip
    assert known.explain("c_copy") == ("copy", "pattern c_*", "fs/x/p.c")


def test_a_name_of_several_files_is_decided_by_agreement_or_by_its_neighbours_but_never_guessed() -> None:
    text = '[vfs]\ndirectories = ["fs/"]\n[net]\ndirectories = ["net/"]\n'
    known = small(text, **{"fs__a.c": "a both open", "fs__b.c": "b both", "net__c.c": "c open", "net__d.c": "d"})
    assert known.layers(["both", "open"]).tolist() == ["vfs", "unattributed"]
    table = ["a", "open", "b", "c", "open", "d", "open"]
    assert known.layers_by_address(table).tolist() == ["vfs", "vfs", "vfs", "net", "net", "net", "unattributed"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[nonsense]\nfiles = ['a.c']", "does not exist"),
        ("[unattributed]\nfiles = ['a.c']", "does not exist"),
        ("[vfs]\nfile = ['a.c']", "kind that does not exist"),
        ("[vfs]\nfiles = 'a.c'", "not a list of text"),
        ("[vfs]\nfiles = [1]", "not a list of text"),
        ("[vfs]\nfiles = ['a.c']\n[fs]\nfiles = ['a.c']", "again in fs"),
        ("[vfs]\ndirectories = ['fs']", "ends with /"),
        ("[vfs", "not TOML"),
        ("vfs = 1", "not a table"),
        ("[vfs]\npatterns = ['*']", "matches 201 symbols"),
        ("[vfs]\npatterns = ['f1*']\n[fs]\npatterns = ['f1?']", "disagree"),
    ],
)
def test_wrong_rules_are_refused_and_say_why(text: str, says: str) -> None:
    with pytest.raises(WeaklinkError, match=says):
        small(text, **{"a.c": " ".join(f"f{number}" for number in range(201))})


def test_a_rule_that_matches_nothing_is_found() -> None:
    known = small("[vfs]\nsymbols=['f','g']\npatterns=['h*']\nfiles=['a.c','b.c']\ndirectories=['x/']", **{"a.c": "f"})
    assert rules.dead(known.rules, known.sources) == ["symbol g", "pattern h*", "file b.c", "directory x/"]


def test_the_digest_changes_with_whatever_decides(linux: Map) -> None:
    def digest(rules_: bytes, index: bytes) -> str:
        return SourceMap(rules.parse(""), {}, (rules_, index)).sha256

    assert len({digest(b"a", b"b"), digest(b"ab", b""), digest(b"a", b"c"), linux.sha256}) == 4
    assert digest(b"a", b"b") == digest(b"a", b"b")


def test_an_unknown_kind_of_kernel_says_which_there_are() -> None:
    with pytest.raises(WeaklinkError) as caught:
        maps.load("../linux")
    assert "linux" in caught.value.hint


@pytest.mark.parametrize(
    ("path", "short"),
    [
        ("/build/reproducible-path/linux-6.1.192/arch/x86/kernel/head_64.S", "arch/x86/kernel/head_64.S"),
        ("debian/build/build_amd64_none_cloud-amd64/kernel/bounds.c", "kernel/bounds.c"),
        ("kernel/sched/../time/tick.c", "kernel/time/tick.c"),
        ("./fs/open.c", "fs/open.c"),
    ],
)
def test_paths_of_dwarf_become_paths_of_the_source_tree(path: str, short: str) -> None:
    assert relative(path) == short


def test_functions_of_a_unit_that_includes_others_have_their_own_file(linux: Map) -> None:
    assert linux.explain("psi_group_change")[2] == "kernel/sched/psi.c"
    assert linux.explain("autoremove_wake_function")[2] == "kernel/sched/wait.c"


@pytest.mark.parametrize(
    ("function", "operation"),
    [("open64", "open"), ("__read", "read"), ("__clock_gettime", "clock_gettime"), ("wait4", "waitpid"),
     ("_pthread_mutex_lock", "pthread_mutex_lock"), ("sbrk", "brk"), ("epoll_create1", "epoll_create"),
     ("eventfd_read", "eventfd_read"), ("ppoll", "ppoll"), ("pipe2", "pipe2"), ("_exit", "exit")],
)  # fmt: skip
def test_aliases_are_one_operation(function: str, operation: str) -> None:
    assert maps.operations().of_function()[function] == operation


@pytest.mark.parametrize(
    ("syscall", "operation"),
    [("newfstatat", "fstatat"), ("exit_group", "exit"), ("pread64", "pread"), ("clone3", "clone"),
     ("wait4", "waitpid"), ("getppid", "getppid"), ("futex", "futex"),
     ("io_uring_enter", "io_uring_enter")],
)  # fmt: skip
def test_a_syscall_outside_an_operation_is_one_by_its_posix_name(syscall: str, operation: str) -> None:
    assert maps.operations().syscalls.get(syscall, syscall) == operation


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[operations.a]\nx = ['f']\ny = ['f']", "both"),
        ("[operations.a]\nx = ['f']\n[operations.b]\nx = ['g']", "twice"),
        ("[operations.a]\nx = []", "no functions"),
        ("[operations.a]\nx = ['f']\n[syscalls]\ns = 'y'", "not an operation"),
        ("[", "not TOML"),
    ],
)
def test_a_wrong_vocabulary_is_refused(text: str, says: str) -> None:
    with pytest.raises(WeaklinkError, match=says):
        vocabulary.parse(text)


def test_syscalls_of_the_kernel_are_not_renamed_in_vain(linux: Map) -> None:
    """Most renames must be of handlers that Debian's kernels have; the others are of 32-bit or BSD names."""
    renamed = maps.operations().syscalls
    found = [name for name in renamed if f"__x64_sys_{name}" in linux.sources]
    assert len(found) > 0.7 * len(renamed)


def test_coverage_says_what_is_not_named_and_fails_below_the_share(tmp_path: Path) -> None:
    path = tmp_path / "ledger.csv"
    path.write_text("phase,function,instructions\n1,vfs_read,97\n1,mystery,3\n2,vfs_read,96\n2,mystery,4\n")
    found = coverage.shares(maps.load("linux"), coverage.ledger(path))
    assert found["named"].tolist() == pytest.approx([0.97, 0.96])
    assert found["worst"].tolist() == ["mystery 3", "mystery 4"]
    command = [sys.executable, "-m", "probes.maps.coverage", "linux", str(path)]
    assert subprocess.run([*command, "--at-least", "0.965"], capture_output=True, check=False).returncode == 1
    assert subprocess.run([*command, "--at-least", "0.95"], capture_output=True, check=False).returncode == 0


def test_functions_that_many_share() -> None:
    names = ["memcpy", "memcpy.cold", "__x86_indirect_thunk_rax", "copy_user_generic", "__list_add_valid", "kmalloc"]
    assert maps.load("linux").shared(names) == {*names} - {"copy_user_generic", "kmalloc"}
    assert maps.load("freebsd").shared(["memset_erms", "memory", "uiomove"]) == {"memset_erms"}
    assert maps.load("osv").shared(["memcpy_repmov_ssse3", "memcpy_decode_start"]) == {"memcpy_repmov_ssse3"}


@pytest.mark.parametrize("text", ['[shared]\nfiles = ["a"]', "[shared]\nsymbols = [1]", 'shared = "memcpy"'])
def test_shared_functions_that_are_no_lists(text: str) -> None:
    with pytest.raises(WeaklinkError):
        rules.parse(text)
