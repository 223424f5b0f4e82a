/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * weaklink's exec probe: every instruction of every vCPU, charged to phase, thread, operation and function.
 *
 * Nothing is instrumented until the app executes the arm marker.  From then on every translation block is cut into
 * segments, runs of instructions of one function.  A segment's callback, at its first instruction, charges what has
 * executed since the previous callback to the previous segment: `raw`, an inline counter, counts each instruction as
 * it is attempted, so a block that a fault cuts short is charged exactly what it did.  (Mode "block" has no inline
 * counter: a segment is taken to execute whole.)
 *
 * The current row of the ledger (phase, role, operation) changes only where something happens: at markers, at entries
 * of system calls, exceptions and interrupts, at their returns, at context switches, and where the app calls libc.
 * Nothing reads the guest's registers or memory: threads are told apart by the addresses that the kernel's switch
 * and wake-up code accesses.
 *
 * Several vCPUs are several threads of QEMU's: see vcpus.h.  They are all stopped while callbacks of qemu_plugin_reset()
 * run: there the probe begins with each of them, and there it writes what it knows.
 */
#include "guest.h"
#include "names.h"
#include "state.h"

#include <dlfcn.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Markers: see probes/marker.h. */
enum { MARK_ARM = 0x01, MARK_DISARM = 0x02, MARK_PHASE_END = 0x03, MARK_ENDED = 0x04, MARK_PHASE = 0x10, MARK_PHASE_LAST = 0xd7 };

static qemu_plugin_id_t plugin_id;
static bool armed, finished; /* of all vCPUs: read and written as atoms */
static unsigned arming, disarming; /* the vCPUs that do */
static char *out_dir;

static void on_exit_qemu(WL_EXIT_ARGS);

static void on_marker(unsigned vcpu, void *udata)
{
    struct vcpu *v = &vcpus[vcpu];
    uintptr_t code = (uintptr_t)udata;
    if (__atomic_load_n(&finished, __ATOMIC_RELAXED))
        return;
    if (config.window.given) {
        if (code == MARK_ENDED)
            window_ended(v);
        return;
    }
    if (code >= MARK_PHASE && code <= MARK_PHASE_LAST && v->phase == NO_PHASE)
        phase_mark(v, true, (uint16_t)(code - MARK_PHASE));
    else if (code == MARK_PHASE_END && v->phase != NO_PHASE)
        phase_mark(v, false, v->phase);
    else if (code == MARK_DISARM)
        probe_finish(v, true);
}

static void on_trans_armed(WL_TRANS_ARGS)
{
    WL_UNUSED_TRANS;
    translate(tb, on_marker);
}

/* The vCPU is in a thread of which nothing is known, but that this is the program's own if it armed the probe. */
static void start(struct vcpu *v, const struct segment *segment, enum role role)
{
    v->c = wl_counters_find(&counters, v->number);
    memset(v->c, 0, sizeof *v->c);
    v->phase = NO_PHASE;
    v->segment = segment;
    v->thread = threads_new(0, (uint8_t)role);
    v->thread->user = v->thread->in_app = role == ROLE_MAIN;
    threads_take(v->thread, v->number);
    v->silent = config.window.given;
    if (stacks)
        stacks_switch(v);
    set_row(v);
}

static void on_reset(WL_RESET_ARGS)
{
    static const struct segment halted = {.seen = SEEN_UNKNOWN, .tail = INSN_HLT}; /* as vCPUs with nothing to do are */
    WL_UNUSED_RESET;
    for (unsigned i = 0; i < n_vcpus; i++)
        if (i != arming)
            start(&vcpus[i], &halted, ROLE_KERNEL);
    wl_register_trans(plugin_id, on_trans_armed);
    qemu_plugin_register_atexit_cb(plugin_id, on_exit_qemu, NULL);
}

static void on_arm(unsigned vcpu, void *udata)
{
    static const struct segment nothing = {.seen = SEEN_UNKNOWN, .tail = INSN_MARKER};
    if (__atomic_exchange_n(&armed, true, __ATOMIC_RELAXED))
        return;
    arming = vcpu;
    clock_arm();
    start(&vcpus[vcpu], &nothing, ROLE_MAIN);
    window_armed_at((uintptr_t)udata);
    /* Drops every callback and flushes all code; what is translated from then on is instrumented. */
    wl_reset(plugin_id, on_reset);
}

static void on_trans_waiting(WL_TRANS_ARGS)
{
    WL_UNUSED_TRANS;
    size_t n = qemu_plugin_tb_n_insns(tb);
    for (size_t i = 0; i < n; i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        uint64_t pc = qemu_plugin_insn_vaddr(insn);
        if (window_arms_at(pc))
            qemu_plugin_register_vcpu_insn_exec_cb(insn, on_arm, QEMU_PLUGIN_CB_NO_REGS, (void *)(uintptr_t)pc);
        if (i + 1 < n && (qemu_plugin_insn_size(insn) != 7 || config.window.given))
            continue;
        uint8_t bytes[16];
        struct insn_info info = insn_decode(bytes, wl_insn_bytes(insn, bytes));
        if (info.kind == INSN_HLT)
            clock_before_halt(insn);
        if (!config.window.given && info.kind == INSN_MARKER && info.marker == MARK_ARM)
            qemu_plugin_register_vcpu_insn_exec_cb(insn, on_arm, QEMU_PLUGIN_CB_NO_REGS, NULL);
    }
}

static FILE *out_open(const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", out_dir, name);
    return fopen(path, "w");
}

/* Each vCPU's counters where phases began and ended: number, instructions, further REP iterations, idle. */
static void write_vcpus(FILE *f)
{
    fprintf(f, " \"vcpus\": [");
    for (const struct vcpu *v = vcpus; v < vcpus + n_vcpus; v++) {
        uint32_t n;
        const struct phase_point *points = phase_points(v, &n);
        fprintf(f, "%s{\"lost_events\": %" PRIu64 ", \"points\": [", v->number ? ",\n  " : "", events_lost(v->number));
        for (uint32_t i = 0; i < n; i++)
            fprintf(f, "%s[%u, %" PRIu64 ", %" PRIu64 ", %" PRIu64 "]", i ? ", " : "", points[i].number, points[i].raw,
                    points[i].rep, points[i].idle);
        fprintf(f, "], \"cpu_ns\": ["); /* for tests/bench.py */
        for (uint32_t i = 0; i < n; i++)
            fprintf(f, "%s%" PRIu64, i ? ", " : "", points[i].cpu);
        fprintf(f, "]}");
    }
    fprintf(f, "]");
}

static void write_summary(FILE *f, bool complete, bool ledger_written)
{
    fprintf(f, "{\"api\": %d, \"exact\": %s, \"complete\": %s, \"ledger_written\": %s, \"clock\": %s,"
            " \"guest\": %s,\n", WL_API, exact ? "true" : "false", complete ? "true" : "false", ledger_written ? "true" : "false",
            several() || clock_known() ? "true" : "false", guest_readable() ? "true" : "false");
    fprintf(f, " \"trouble\": {\"rows\": %" PRIu64 ", \"functions\": %" PRIu64 ", \"frames\": %" PRIu64, trouble.rows,
            trouble.functions, trouble.frames);
    fprintf(f, ", \"resync\": %" PRIu64 ", \"switches\": %" PRIu64 ", \"phases\": %" PRIu64 "},\n", trouble.resync,
            trouble.switches, trouble.phases);
    if (stacks)
        fprintf(f, " \"stacks\": {\"unwound\": %" PRIu64 ", \"opened\": %" PRIu64 ", \"deep\": %" PRIu64
                ", \"resync\": %" PRIu64 ", \"full\": %" PRIu64 "},\n", stacks_seen.unwound, stacks_seen.opened,
                stacks_seen.deep, stacks_seen.resync, stacks_seen.full);
    write_vcpus(f);
    fprintf(f, ",\n \"threads\": ");
    names_write(f);
    fprintf(f, ",\n \"fired\": [");
    for (size_t i = 0; i < config.n_hooks; i++) {
        uint64_t fired = 0;
        for (unsigned n = 0; n < n_vcpus; n++)
            fired += config.hooks[i].fired[n];
        fprintf(f, "%s%" PRIu64, i ? ", " : "", fired);
    }
    fprintf(f, "],\n \"locks\": ");
    locks_write(f);
    const struct window_state *w = window_state();
    fprintf(f, ",\n \"window\": {\"armed\": %s, \"opened\": %s, \"closed\": %s}}\n", w->armed ? "true" : "false",
            w->opened ? "true" : "false", w->closed ? "true" : "false");
}

static void write_all(bool complete)
{
    if (armed && complete)
        names_look(disarming);
    events_close();
    FILE *f = out_open("ledger.bin"), *costly = out_open("costly.bin");
    bool written = f && costly && ledger_write(f, costly, stacks ? n_nodes : n_seen, stacks ? NULL : function_of);
    written = f && fclose(f) == 0 && written;
    written = costly && fclose(costly) == 0 && written;
    if (stacks) {
        f = out_open("stacks.bin");
        written = f && stacks_write(f, function_of) && written;
        written = f && fclose(f) == 0 && written;
    }
    f = out_open("summary.json");
    if (f) {
        write_summary(f, complete, written);
        if (fclose(f) != 0)
            fprintf(stderr, "weaklink-exec: the summary could not be written\n");
    }
}

static void on_reset_finished(WL_RESET_ARGS)
{
    WL_UNUSED_RESET; /* nothing is registered again: the rest runs at full speed */
    if (!several())
        return;
    for (struct vcpu *v = vcpus; v < vcpus + n_vcpus; v++)
        phases_catch_up(v);
    write_all(true);
}

void probe_finish(struct vcpu *v, bool complete)
{
    if (__atomic_exchange_n(&finished, true, __ATOMIC_RELAXED))
        return;
    disarming = v->number;
    if (armed)
        charge(v);
    if (!several() || !complete)
        write_all(complete);
    if (complete)
        wl_reset(plugin_id, on_reset_finished);
}

static void on_exit_qemu(WL_EXIT_ARGS)
{
    WL_UNUSED_EXIT;
    probe_finish(&vcpus[0], false);
}

/* Whether several vCPUs can be watched, in the way that this QEMU was told to run them. */
static bool vcpus_can_run(void)
{
    const int *icount = dlsym(RTLD_DEFAULT, "use_icount"); /* an enumeration by now: 0 is off */
    if (several() && icount && *icount) {
        fprintf(stderr, "weaklink-exec: several vCPUs with -icount hang on QEMU 7.2: leave -icount out\n");
        return false;
    }
    if (several() && exact && WL_API < 2) {
        fprintf(stderr, "weaklink-exec: this QEMU counts inline for one vCPU only; mode=block counts for several\n");
        return false;
    }
    return true;
}

WL_EXPORT int qemu_plugin_version = WL_API;

WL_EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
    const char *path = NULL, *console = NULL;
    plugin_id = id;
    exact = true;
    for (int i = 0; i < argc; i++) {
        if (!strncmp(argv[i], "config=", 7))
            path = argv[i] + 7;
        else if (!strncmp(argv[i], "out=", 4))
            out_dir = strdup(argv[i] + 4);
        else if (!strncmp(argv[i], "console=", 8))
            console = argv[i] + 8;
        else if (!strcmp(argv[i], "mode=block"))
            exact = false;
        else if (!strcmp(argv[i], "mode=marks"))
            only_marks = true;
        else if (!strcmp(argv[i], "stacks=on"))
            stacks = true;
    }
    if (!path || !out_dir || strcmp(info->target_name, "x86_64") || info->system.max_vcpus > VCPUS) {
        fprintf(stderr, "weaklink-exec: needs config=, out=, x86_64 and at most %d vCPUs\n", VCPUS);
        return 1;
    }
    n_vcpus = (unsigned)info->system.max_vcpus;
    if (stacks && several()) {
        fprintf(stderr, "weaklink-exec: call stacks are kept of one vCPU only\n");
        return 1;
    }
    for (unsigned i = 0; i < n_vcpus; i++)
        vcpus[i].number = (uint8_t)i;
    if (!vcpus_can_run())
        return 1;
    if (!config_read(&config, path) || !window_prepare(console))
        return 1;
    if (stacks) {
        ledger_set_width(NODES);
        if (!stacks_init()) {
            fprintf(stderr, "weaklink-exec: no memory for call stacks\n");
            return 1;
        }
    }
    char events[4096];
    snprintf(events, sizeof events, "%s/events.bin", out_dir);
    if (!events_open(events)) {
        fprintf(stderr, "weaklink-exec: %s cannot be written\n", events);
        return 1;
    }
    wl_counters_new(&counters, sizeof *vcpus[0].c, n_vcpus);
    if (!translate_init()) {
        fprintf(stderr, "weaklink-exec: no memory for the code that is translated\n");
        return 1;
    }
    clock_find();
    guest_find();
    wl_register_trans(id, on_trans_waiting);
    qemu_plugin_register_atexit_cb(id, on_exit_qemu, NULL);
    return 0;
}
