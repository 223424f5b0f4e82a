"""One run put together: app, guest, probe, machine, decoder, recording."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from profiler import __version__
from profiler.campaign import Result, RunFailed
from profiler.errors import AppHung, NoBoot, ProbeLoad, ProbeLoss, UsageError, WeaklinkError
from profiler.machine import boot, locate, qemu, verdict
from profiler.machine import vcpus as several
from profiler.machine.command import CPU, Command
from profiler.plan import Run
from profiler.subject import Subject, window_entry

if TYPE_CHECKING:
    import pyarrow as pa

    from images import Bootable, GuestSpec, Loaded, Program
    from images.guests import Guest, Runtime
    from probes.exec.configure import Hooks
    from probes.exec.said import Phase

TOOL: Final = f"weaklink {__version__}"


@dataclass(frozen=True)
class Prepared:
    """A run that is ready to boot."""

    guest: Guest
    runtime: Runtime
    program: Program
    bootable: Bootable
    hooks: Hooks
    config: Path
    console: Path | None
    """QEMU's log of the guest's console, where the probe waits for a line on it."""


class ExecRecorder:
    """Records runs of one app with the exec probe.  What all runs share is made once: the app, the plugin, the hooks.

    Making one may raise QemuMissing, ToolMissing, ProbeBuild, and UsageError if ``mode`` and ``vcpus`` do not go
    together.
    ``step`` is told, in a few words, what is being done; ``on_line`` gets the guest's console, safe to show.
    """

    def __init__(
        self,
        subject: Subject,
        *,
        mode: str | None = None,
        vcpus: int = 1,
        stacks: bool = False,
        limits: boot.Limits | None = None,
        step: Callable[[str], None] = lambda text: None,
        on_line: Callable[[str], None] = lambda line: None,
    ) -> None:
        from images import store
        from probes.exec import build

        self._stacks, self._limits, self._step, self._on_line = stacks, limits, step, on_line
        self._qemu = qemu.find()
        self._vcpus, self.mode = vcpus, several.mode(vcpus, mode, self._qemu.version, stacks=stacks)
        self._cache = store.cache_dir()
        self._subject = subject
        step("building the probe")
        self.plugin = build.plugin(self._qemu.version, self._cache)
        self._hooks: dict[tuple[Path, tuple[Loaded, ...]], tuple[Hooks, bytes]] = {}
        self.prepared: Prepared | None = None

    def check(self, guests: Iterable[GuestSpec]) -> None:
        """Refuse guests that the subject cannot run on, before anything is run; ``UsageError``."""
        from images import check

        for spec in guests:
            guest = check(spec)
            self._subject.check(guest, guest.runtime(spec.runtime), self._cache)

    def prepare(self, run: Run, work: Path) -> Mapping[str, Any]:
        """Make ready; what a manifest must say to be a recording of this very run."""
        from images import check, prepare

        guest = check(run.guest)
        runtime = guest.runtime(run.guest.runtime)
        program = self._subject.program(guest, runtime, self._cache, self._step)
        args = self._subject.arguments(run.seed)
        if guest.settle_s and program.init:
            args = ["--settle", str(guest.settle_s), *args]
        bootable = prepare(run.guest, program, args, work=work, progress=self._step)
        bootable = self._located(run, replace(bootable, machine=guest.machine_with(self._vcpus)))
        hooks, config = self._configure(bootable, work)
        log = work / "console" if self._subject.window and self._subject.window.listens else None
        self.prepared = Prepared(guest, runtime, program, bootable, hooks, config, log)
        manifest = self._manifest(run)
        return {
            "schema": manifest["schema"],
            "tool": manifest["tool"],
            "app": {key: manifest["app"][key] for key in self._decisive() if key in manifest["app"]},
            **({"window": manifest["window"]} if "window" in manifest else {}),
            "guest": {key: manifest["guest"][key] for key in ("spec", "kernel_sha256", "symbols_sha256", "append")},
            "qemu": {key: manifest["qemu"][key] for key in ("version", "machine", "cpu", "vcpus", "memory_mib")},
            "seed": manifest["seed"],
            "probe": {key: manifest["probe"][key] for key in ("mode", "stacks", "map_sha256", "plugin_sha256")},
        }

    def _decisive(self) -> tuple[str, ...]:
        """What of the app makes another run of it; phases too, where it is known before the run what they do."""
        return ("sha256", "source_sha256", "libraries", "args", *(["phases"] if self._subject.phases(None) else []))

    def record(self, run: Run, work: Path, directory: Path) -> Result:
        """Boot the run that was prepared last, decode what the probe wrote, put the recording at ``directory``."""
        import pyarrow.compute as pc

        from probes import maps, recording
        from probes.exec import build, decode, window
        from probes.tables import TABLES

        prepared = self.prepared
        assert prepared is not None, "prepare comes first"
        bootable, raw = prepared.bootable, work / "probe"
        raw.mkdir()

        plugin = build.argument(self.plugin, prepared.config, raw, self.mode, prepared.console, stacks=self._stacks)
        unaware = self._unaware(prepared, raw)
        self._step("booting")
        outcome = boot.run(
            lambda socket: self.command(run, bootable, socket, plugin),
            panics=bootable.panics,
            limits=self._limits,
            on_line=self._on_line,
            unaware=unaware,
            written=raw,
        )
        said = outcome.conversation
        if outcome.failure is not None:
            _refuse_unknown(run, said.error)  # a bare word becomes an argument that the app does not know
            _refuse_unknown(run, " ".join(prepared.guest.unknown_options(run.guest, outcome.console)))
            if isinstance(outcome.failure, ProbeLoad):
                self.plugin.unlink(missing_ok=True)  # should it be another QEMU's, it is built anew next time
            raise RunFailed(self._placed(outcome.failure, raw), outcome.console)
        _refuse_unknown(run, said.guest.get("unknown_options", ""), prepared.guest.passed_on)
        missed = window.missed(self._subject.window, raw)
        # What a program does behind its window is its own affair, and whether we saw it a matter of chance.
        status = said.status if missed or unaware is None or unaware.with_status else None
        if failure := verdict.program_failed(status, outcome.console) or missed:
            raise RunFailed(failure, outcome.console)
        self._step("decoding")
        phases = self._subject.said(list(said.phases.values()))
        kernel = [name for name, of, _ in prepared.hooks.functions if of == "kernel"] if self._stacks else []
        try:
            tables = decode.decode(raw, prepared.hooks, phases, maps.load(bootable.kind).shared(kernel))
            if self._vcpus == 1:
                _hold_against_the_app(tables.phases, exact=self.mode == "exact")
        except ProbeLoss as loss:
            raise RunFailed(loss, outcome.console) from loss
        manifest = self._manifest(run)
        manifest["app"] |= {"phases": self._subject.phases(phases), "status": status}
        manifest["guest_reports"] = _reports(said.guest, prepared.guest.reports)
        manifest["probe"] |= {
            "capabilities": tables.capabilities, "lost_events": tables.lost_events, "trouble": tables.trouble,
            "hooks_fired": tables.hooks_fired,
            **({} if tables.stacks_seen is None else {"stacks_seen": tables.stacks_seen}),
            **({"vcpus": tables.vcpus} if tables.vcpus else {}),
        }  # fmt: skip
        manifest["cost"] = {"wall_s": outcome.wall_s, "cpu_s": outcome.cpu_s, "boot_s": outcome.boot_s}
        manifest["console"] = {"malformed": said.malformed, "dropped_bytes": outcome.console_dropped}
        self._step("writing")
        decoded = {name: getattr(tables, name) for name in TABLES if name != "calls"}  # counted from events
        recording.write(directory, manifest, decoded, outcome.console)
        instructions = int(pc.sum(tables.phases["instructions"]).as_py() or 0)
        warnings = _warnings(said.malformed, tables.lost_events, phases)
        return Result(instructions, outcome.boot_s, outcome.wall_s, tuple(warnings))

    def _placed(self, failure: WeaklinkError, raw: Path) -> WeaklinkError:
        """The same, with how far the app came if it did not end."""
        from probes.exec.reached import reached

        if isinstance(failure, AppHung | NoBoot) and self._subject.window:
            failure.hint += f"; the window {self._subject.window} has not closed"
        elif isinstance(failure, AppHung) and (last := reached(raw)):
            names = {phase["number"]: phase["name"] for phase in self._subject.phases(None)}
            name = f"phase {names.get(last.phase, last.phase)}"
            where = "before the first phase" if last.phase is None else f"{'in' if last.inside else 'after'} {name}"
            return AppHung(f"{where}: {failure}", hint=failure.hint)
        return failure

    def _located(self, run: Run, bootable: Bootable) -> Bootable:
        """The same, with all that the guest's loader puts into the app's memory."""
        command = self.command(run, bootable, Path("unused"), None)
        try:
            return replace(bootable, user=locate.find(bootable, command, self._cache, self._step))
        except locate.Unlocated as failed:
            raise RunFailed(failed.failure, failed.console) from failed

    def _configure(self, bootable: Bootable, work: Path) -> tuple[Hooks, Path]:
        """The probe's configuration for a kernel and what an app loads, as a file in ``work``; made once for each."""
        from probes import maps
        from probes.exec import configure

        config = work / "probe.conf"
        key = bootable.kernel.symbols, bootable.user  # one kernel may be there twice, with other symbols
        if key not in self._hooks:
            self._step("looking for the kernel's hooks")
            words = maps.operations()
            hooks = configure.write(
                config, kind=bootable.kind, kernel_elf=bootable.kernel.elf, kernel_symbols=bootable.kernel.symbols,
                user=[configure.UserCode(user.elf, user.base, user.own) for user in bootable.user],
                libc_in_kernel=bootable.libc_in_kernel,
                operations=words.of_function(), syscalls=words.syscalls, results=words.result_of_function(),
                kernel_layers=maps.load(bootable.kind).layers_by_address,
                window=self._subject.window, program=bootable.program.elf if bootable.program else None,
            )  # fmt: skip
            self._hooks[key] = hooks, config.read_bytes()
        else:
            config.write_bytes(self._hooks[key][1])
        return self._hooks[key][0], config

    def command(self, run: Run, bootable: Bootable, socket: Path, plugin: str | None) -> Command:
        """QEMU's command line for a run; ``plugin`` is its ``-plugin`` argument, None leaves the probe out."""
        return Command(
            qemu=self._qemu.path, machine=bootable.machine, memory_mib=bootable.memory_mib + run.seed.memory_mib,
            kernel=bootable.kernel.elf,
            initrd=bootable.initrd, append=bootable.append, clock=run.seed.clock,
            random_seed=run.seed.number, qmp_socket=socket, plugin=plugin, disk=bootable.disk,
            console_log=self.prepared.console if self.prepared and plugin else None, vcpus=self._vcpus,
        )  # fmt: skip

    def _unaware(self, prepared: Prepared, raw: Path) -> boot.Unaware | None:
        """How to listen to a program that is not written for weaklink."""
        if prepared.program.init:
            return None
        window, bootable, summary = self._subject.window, prepared.bootable, raw / "summary.json"
        return boot.Unaware(
            bootable.starts, bootable.ends,
            over=lambda: window is not None and summary.exists(),
            with_status=window is None or window.closes.kind == "exit",
        )  # fmt: skip

    def _manifest(self, run: Run) -> dict[str, Any]:
        """All that is known before the run; ``record`` adds what the run showed."""
        from images.libraries import digests
        from images.store import sha256_file
        from probes import maps
        from probes.events import SCHEMA_VERSION

        prepared = self.prepared
        assert prepared is not None, "prepare comes first"
        bootable, kernel, spec = prepared.bootable, prepared.bootable.kernel, run.guest
        libraries = digests(prepared.program.libraries, libc_in_kernel=bootable.libc_in_kernel)
        return {
            "schema": SCHEMA_VERSION,
            "tool": TOOL,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "app": {
                "name": run.app, "sha256": prepared.program.sha256, "source_sha256": prepared.program.source_sha256,
                "target": prepared.program.target, **({"libraries": libraries} if libraries else {}),
                "args": list(self._subject.args), "phases": self._subject.phases(None),
            },
            **({} if prepared.program.init else {"window": window_entry(self._subject)}),
            "guest": {
                "spec": str(spec), "name": spec.name, "kind": bootable.kind, "runtime": prepared.runtime.name,
                "fair": prepared.runtime.fair, "libc_in_kernel": bootable.libc_in_kernel, "machine": bootable.machine,
                "options": list(spec.options), "kernel_sha256": kernel.sha256, "kernel_version": kernel.version,
                "symbols_sha256": sha256_file(kernel.symbols),  # the same kernel with other symbols has another ledger
                "provenance": kernel.provenance, "append": bootable.append,
            },
            "guest_reports": {},
            "qemu": {
                "version": self._qemu.release, "machine": bootable.machine, "cpu": CPU,
                "icount": several.icount(self._vcpus), "vcpus": self._vcpus,
                "memory_mib": bootable.memory_mib + run.seed.memory_mib,
                "command": self.command(run, bootable, Path("qmp"), "probe").shown(),
            },
            "seed": {
                "number": run.seed.number, "rtc": run.seed.clock.isoformat(timespec="seconds"), "spin": run.seed.spin,
            },
            "probe": {
                "mode": self.mode, **({"statistical": True} if self._vcpus > 1 else {}),
                "stacks": self._stacks, "capabilities": {}, "not_hooked": list(prepared.hooks.not_hooked),
                "lost_events": 0, "map_sha256": maps.load(bootable.kind).sha256,
                "plugin_sha256": sha256_file(self.plugin),
            },
        }  # fmt: skip


def _reports(said: Mapping[str, str], known: Mapping[str, str]) -> dict[str, str]:
    """What the guest said of itself; where it could not tell, what is known of its kind."""
    return dict(said) | {key: text for key, text in known.items() if said.get(key, "unknown") == "unknown"}


def _hold_against_the_app(phases: pa.Table, *, exact: bool) -> None:
    """Raise ``ProbeLoss`` where the app read another time than the probe counted: nobody knows then which is wrong."""
    from analysis.verify import clock_tolerance

    for phase in phases.to_pylist():
        parts = [phase["instructions"], phase["rep_iterations"], phase["idle_ns"]]
        if phase["status"] != "ok" or phase["tsc"] is None or None in parts:
            continue
        total = sum(parts)
        if abs(phase["tsc"] - total) > clock_tolerance(total, exact=exact):
            raise ProbeLoss(
                f"phase {phase['name']} took {phase['tsc']:,} by the app's own clock, and {total:,} by the probe's",
                hint="the app's markers, or what it says of its phases, may be wrong: compare it with probes/marker.h",
            )


def _refuse_unknown(run: Run, words: str, passed_on: Collection[str] = ()) -> None:
    """An option that the kernel passed on to the app did nothing: a recording of it would compare equal to without."""
    unknown = [word for word in words.split() if word in run.guest.options and word.partition("=")[0] not in passed_on]
    if unknown:
        raise UsageError(
            f"the kernel of {run.guest.name} does not know the option {unknown[0]}",
            hint="see the kernel's documentation of its command line (kernel-parameters) for the spelling",
        )


def _warnings(malformed: Sequence[str], lost: int, phases: Sequence[Phase]) -> list[str]:
    warnings = [f"console: {line}" for line in malformed[:3]]
    warnings += [f"phase {one.name} failed: {one.reason}" for one in phases if one.status == "failed"][:3]
    return warnings + ([f"the probe lost {lost} events"] if lost else [])
