"""What the probe is told of a kernel: hooks found by name and by disassembly, what is missing, functions in order."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from probes.events import HOWS
from probes.exec import configure
from probes.exec.configure import FIXED_NAMES, Hooks, UserCode
from probes.exec.places import RESULTS
from probes.symbols import SymbolTable
from profiler.errors import ArtifactCorrupt
from tests import machine_code

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="no compiler on this machine")

NEGATIVE, INT = RESULTS.index("negative"), RESULTS.index("int")
DEVICE = HOWS.index("device")

# As much of Linux as the hooks ask for; the bodies are what the disassembly looks at.
KERNEL = {
    "entry_SYSCALL_64": "swapgs; sysretq",
    "__x64_sys_read": "call vfs_read; ret",
    "__x64_sys_getppid": "xor %eax, %eax; ret",
    "__x64_sys_newfstatat": "ret",
    "asm_exc_page_fault": "push %rdi; iretq",
    "asm_exc_int3": "push $-1; iretq",
    "asm_sysvec_apic_timer_interrupt": "push $-1; iretq",
    "timer_interrupt": "ret",
    "irq_entries_start": "push $0x20; jmp vfs_read; .balign 8, 0xcc; push $0x21; jmp vfs_read; .balign 8, 0xcc",
    "__switch_to_asm": "push %rbp; mov %rsp, 0x1518(%rdi); mov 0x1518(%rsi), %rsp; pop %rbp; ret",
    "try_to_wake_up": "call vfs_read; mov %rdi, %rbx; call vfs_read; mov 0x18(%rbx), %eax; ret",
    "wake_up_new_task": "movl $0, 0x10(%rdi); ret",
    "native_queued_spin_lock_slowpath": "pause; ret",
    "__mutex_lock.constprop.0": "nop; ret",
    "__mutex_lock.isra.0.cold": "ret",
    "vfs_read": "nop; nop; ret",
}
APP = """
int read(int fd, void *p, unsigned long n) { (void)fd; (void)p; return (int)n; }
int __read(int, void *, unsigned long) __attribute__((alias("read")));
int internal(int x) { return x + 1; }
int write(int fd) { return fd; }
static int helper(int x) { return read(x, 0, 1) + internal(x); }
int start_here(void) { return helper(1) + write(2); }
"""
OWN = frozenset({"start_here", "helper", "write"})


class Configured(NamedTuple):
    """A configuration that was written, taken apart."""

    hooks: Hooks
    head: str
    functions: list[tuple[int, int, str]]  # address, size, class
    places: dict[str, list[tuple[int, str, int]]]  # kind -> address, name, displacement
    sources: dict[int, list[int]]  # address of a place -> where it finds something
    kernel: dict[str, int]
    app: dict[str, int]


Configure = Callable[..., Configured]


@pytest.fixture
def configured(tmp_path: Path) -> Configure:
    """Configures the probe for a kernel made of the bodies given, and for APP."""

    def make(bodies: dict[str, str] = KERNEL, kind: str = "linux", layer: str = "vfs") -> Configured:
        (tmp_path / "app.c").write_text(APP)
        kernel = machine_code.kernel(tmp_path, bodies)
        app = machine_code.link(tmp_path, "app.c", 0x401000, entry="start_here")
        path = tmp_path / "probe.conf"

        def layers(names: Sequence[str]) -> list[str]:
            return [layer if name != "try_to_wake_up" else "sched" for name in names]

        hooks = configure.write(
            path, kind=kind, kernel_elf=kernel, kernel_symbols=kernel,
            user=[UserCode(app, 0, OWN)], libc_in_kernel=False,
            operations={"read": "read", "write": "write"}, syscalls={"newfstatat": "fstatat"},
            results={"read": "int"}, kernel_layers=layers,
        )  # fmt: skip
        head, *lines = path.read_text().splitlines()
        functions: list[tuple[int, int, str]] = []
        places: dict[str, list[tuple[int, str, int]]] = {}
        sources: dict[int, list[int]] = {}
        for line in lines:
            letter, *words = line.split()
            if letter == "f":
                functions.append((int(words[0], 16), int(words[1], 16), words[2]))
            elif letter == "v":
                sources[int(words[0], 16)] = [int(word) for word in words[1:]]
            elif letter == "h":
                where = (int(words[1], 16), hooks.names[int(words[2])], int(words[3]))
                places.setdefault(words[0], []).append(where)
        return Configured(
            hooks, head, functions, places, sources, machine_code.symbols(kernel), machine_code.symbols(app)
        )

    return make


def test_hooks_are_found_by_name(configured: Configure) -> None:
    made = configured()
    at = made.kernel
    assert made.places["syscall"] == [(at["entry_SYSCALL_64"], "syscall", NEGATIVE)]
    assert made.places["handler"] == [
        (at["__x64_sys_read"], "read", NEGATIVE), (at["__x64_sys_getppid"], "getppid", NEGATIVE),
        (at["__x64_sys_newfstatat"], "fstatat", NEGATIVE),
    ]  # fmt: skip
    assert made.places["fault"] == [(at["asm_exc_page_fault"], "page-fault", 0)]
    assert made.places["trap"] == [(at["asm_exc_int3"], "exception", 0)]
    assert made.places["irq"] == [(at["asm_sysvec_apic_timer_interrupt"], "apic_timer_interrupt", 0)]
    assert made.places["timer"] == [(at["timer_interrupt"], "timer", 0)]


def test_compiler_suffixes_are_folded_and_cold_parts_are_no_entries(configured: Configure) -> None:
    made = configured()
    assert made.places["lock"] == [
        (made.kernel["native_queued_spin_lock_slowpath"], "native_queued_spin_lock_slowpath", -1),
        (made.kernel["__mutex_lock.constprop.0"], "__mutex_lock", -1),
    ]


def test_locks_are_in_the_register_of_the_first_argument(configured: Configure) -> None:
    made = configured()
    assert made.sources == {address: [5, 0] for address, _, _ in made.places["lock"]}
    assert len(made.places["lock-end"]) == 3  # the piece that was cut off returns as well


def test_stubs_are_hooked_where_they_push(configured: Configure) -> None:
    made = configured()
    start = made.kernel["irq_entries_start"]
    assert made.places["device"] == [(start, "device", DEVICE), (start + 8, "device", DEVICE)]


def test_threads_are_found_by_disassembly(configured: Configure) -> None:
    made = configured()
    switch, wake, new = (made.kernel[name] for name in ("__switch_to_asm", "try_to_wake_up", "wake_up_new_task"))
    assert made.places["switch-out"] == [(switch + 1, "", 0x1518)]
    assert made.places["switch-in"] == [(switch + 8, "", 0x1518)]
    assert made.places["wake"] == [(wake + 13, "", 0x18)]
    assert made.places["new"] == [(new, "", 0x10)]


def test_operations_are_libc_functions_and_not_the_apps_own(configured: Configure) -> None:
    made = configured()
    assert made.places["op"] == [(made.app["read"], "read", INT)]  # the app brings its own write


def test_threads_have_names_where_a_function_tells_where(configured: Configure, tmp_path: Path) -> None:
    assert "thread-name" in [entry["what"] for entry in configured().hooks.not_hooked]
    named = {"__get_task_comm": "lea 0xba0(%rdx), %rsi; call strscpy_pad; ret", "strscpy_pad": "ret"}
    hooks = configured(KERNEL | named).hooks
    assert "thread-name" not in [entry["what"] for entry in hooks.not_hooked]
    lines = next(tmp_path.rglob("*conf*")).read_text().splitlines()
    assert f"n {0xBA0}" in lines
    assert f"w thread {hooks.number('pthread_create')}" in lines


def test_what_is_missing_is_listed_with_a_reason(configured: Configure) -> None:
    assert {
        "what": "fault asm_exc_divide_error",
        "reason": "no such symbol in this kernel",
    } in configured().hooks.not_hooked
    gone = ("timer_interrupt", "__switch_to_asm", "irq_entries_start", "asm_sysvec_apic_timer_interrupt")
    few = {name: body for name, body in KERNEL.items() if name not in gone}
    # One that is there, but whose task cannot be told.
    few["wake_up_new_task"] = "jmp vfs_read"
    made = configured(few)
    listed = {entry["what"]: entry["reason"] for entry in made.hooks.not_hooked}
    assert listed["timer timer_interrupt"] == "no such symbol in this kernel"
    assert listed["device irq_entries_start"] == "no such symbol in this kernel"
    assert listed["irq"] == r"no symbol matches asm_sysvec_(\w+)"
    assert listed["switch-out"] == listed["switch-in"] == "no access through the task in __switch_to_asm"
    assert listed["new"] == "no access through the task in wake_up_new_task"
    assert not {"wake", "syscall entry_SYSCALL_64", "lock __mutex_lock"} & listed.keys()
    assert not {"new", "switch-out", "device", "timer"} & made.places.keys()


def test_functions_are_sorted_and_do_not_overlap(configured: Configure) -> None:
    made = configured()
    counts = f"{len(made.functions)} {sum(map(len, made.places.values()))}"
    assert made.head == f"weaklink-exec 2 {counts} 8000000000000000 ffffffffffffffff"
    ends = [start + size for start, size, _ in made.functions]
    starts = [start for start, _, _ in made.functions]
    assert all(end <= start for end, start in zip(ends, starts[1:], strict=False))
    named = {
        name: (place, kind) for (name, *_), (place, _, kind) in zip(made.hooks.functions, made.functions, strict=True)
    }
    assert named["start_here"] == (made.app["start_here"], "a")
    assert named["helper"] == (made.app["helper"], "a")
    assert named["internal"] == (made.app["internal"], "l")
    assert named["vfs_read"] == (made.kernel["vfs_read"], "k")


def test_a_symbol_inside_another_makes_pieces_and_only_one_entry(configured: Configure) -> None:
    bodies = dict(KERNEL)
    inner = ".globl inner\n.type inner, @function\ninner:\nnop\nnop\n.size inner, . - inner"
    bodies["vfs_read"] = f"nop\n{inner}\nnop\nret"
    made = configured(bodies)
    both = zip(made.hooks.functions, made.functions, strict=True)
    pieces = [(name, size, kind) for (name, *_), (_, size, kind) in both if name in ("vfs_read", "inner")]
    assert pieces == [("vfs_read", 1, "k"), ("inner", 2, "k"), ("vfs_read", 2, "K")]


def test_functions_have_their_class_and_layer(configured: Configure) -> None:
    about = {name: rest for name, *rest in configured().hooks.functions}
    assert about["start_here"] == ["app", "user"]
    assert about["internal"] == ["libc", "libc"]
    assert about["vfs_read"] == ["kernel", "vfs"]
    assert about["try_to_wake_up"] == ["kernel", "sched"]


def test_hooks_are_sorted_and_their_kinds_are_kept_in_that_order(configured: Configure) -> None:
    made = configured()
    order = sorted((address, kind) for kind, places in made.places.items() for address, _, _ in places)
    assert made.hooks.kinds == [kind for _, kind in order]
    assert len({address for address, _ in order}) == len(order)


def test_numbers_of_names_are_those_of_the_plugin(configured: Configure, root: Path) -> None:
    made = configured()
    assert tuple(made.hooks.names[: len(FIXED_NAMES)]) == FIXED_NAMES
    assert len(set(made.hooks.names)) == len(made.hooks.names)
    header = (root / "probes/exec/plugin/threads.h").read_text()
    line = next(line for line in header.splitlines() if "NAME_NONE" in line)
    assert line.split("{")[1].split("}")[0].replace(" ", "") == (
        "NAME_NONE,OP_USER,OP_INTERRUPT,OP_BACKGROUND,OP_PENDING,OP_SYSCALL")  # fmt: skip


def test_the_same_kernel_gives_the_same_configuration(configured: Configure, tmp_path: Path) -> None:
    configured()
    first = (tmp_path / "probe.conf").read_bytes()
    configured()
    assert (tmp_path / "probe.conf").read_bytes() == first


def test_a_kernel_in_which_nothing_is_known(configured: Configure) -> None:
    with pytest.raises(ArtifactCorrupt, match="nothing in kernel could be hooked") as caught:
        configured({"main": "ret", "other": "nop; ret"})
    assert "linux kernel" in caught.value.hint


def test_files_that_are_none(configured: Configure, tmp_path: Path) -> None:
    made = configured()
    del made
    (tmp_path / "empty").write_bytes(b"")
    kernel, app = tmp_path / "kernel", tmp_path / "app"
    for broken in ("kernel_elf", "kernel_symbols", "app_elf"):
        files = {"kernel_elf": kernel, "kernel_symbols": kernel, "app_elf": app} | {broken: tmp_path / "empty"}
        user = [UserCode(files.pop("app_elf"), 0, frozenset())]
        with pytest.raises(ArtifactCorrupt):
            configure.write(
                tmp_path / "conf", kind="linux", **files, user=user, libc_in_kernel=False, operations={}, syscalls={},
                results={}, kernel_layers=lambda names: ["vfs"] * len(names),
            )  # fmt: skip
        assert not (tmp_path / "conf").exists()


def test_every_kind_of_hook_is_known_to_the_plugin(configured: Configure, root: Path) -> None:
    source = (root / "probes/exec/plugin/config.c").read_text()
    for kind in configured().places:
        assert f'"{kind}"' in source


def test_symbols_may_come_from_a_listing(configured: Configure, tmp_path: Path) -> None:
    made = configured()
    listing = tmp_path / "System.map"
    listing.write_text("".join(f"{at:016x} T {name}\n" for name, at in sorted(made.kernel.items(), key=lambda p: p[1])))
    assert len(SymbolTable.load(listing)) >= len(KERNEL)
    hooks = configure.write(
        tmp_path / "conf", kind="linux", kernel_elf=tmp_path / "kernel", kernel_symbols=listing,
        user=[UserCode(tmp_path / "app", 0, OWN)], libc_in_kernel=False,
        operations={"read": "read", "write": "write"}, syscalls={"newfstatat": "fstatat"}, results={"read": "int"},
        kernel_layers=lambda names: ["vfs"] * len(names),
    )  # fmt: skip
    assert hooks.kinds == made.hooks.kinds
