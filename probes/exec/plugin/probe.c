/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * weaklink's exec probe: every instruction of one vCPU, charged to phase, thread, operation and function.
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
 */
#include "config.h"
#include "events.h"
#include "insn.h"
#include "ledger.h"
#include "qemu_api.h"
#include "threads.h"

#include <dlfcn.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* Markers: see probes/marker.h. */
enum { MARK_ARM = 0x01, MARK_DISARM = 0x02, MARK_PHASE_END = 0x03, MARK_PHASE = 0x10, MARK_PHASE_LAST = 0xd7 };

/* Functions that are no function; configure.py gives real ones numbers from 0. */
enum { SEEN_UNKNOWN, SEEN_VDSO, SEEN_IDLE, SEEN_DEVICE_WAIT, SEEN_FIRST };

/* A run of instructions of one function within one translation block. */
struct segment {
    uint64_t pc, last_pc; /* of its first and last instruction */
    struct hook *hook; /* at its first instruction, or NULL */
    uint64_t rep_pc;   /* address of the REP instruction that ends the block here, or 0 */
    uint32_t seen;     /* function */
    uint16_t n;        /* instructions */
    uint8_t entry;     /* 1: starts at the function's first instruction */
    uint8_t tail;      /* INSN_IRET, INSN_SYSRET, INSN_HLT: what ends the block here, else 0; INSN_MARKER: arming */
    uint8_t class;     /* enum function_class */
    uint8_t rep_size;
};

/* What inline operations write. */
struct counters {
    uint64_t raw; /* instructions attempted since arming, corrected at faults */
};

static struct wl_counters counters;
static struct counters *C;

static struct config config;
static qemu_plugin_id_t plugin_id;
static bool exact, armed, finished;
static char *out_dir;

static struct {
    struct cell *row;
    const struct segment *segment; /* being executed */
    uint64_t last;                 /* raw at its beginning */
    uint64_t rep_pc;               /* of the block before, for REP instructions taken up again */
    uint64_t repeat_at;            /* raw at the beginning of the last repeat of a REP instruction */
    struct retry retry;            /* for the frame about to be pushed */
    struct thread *thread;
    uint16_t phase;
    uint64_t rep_total;
    uint64_t idle_total, idle_uncharged;
    bool idle_by_device;
    int64_t clock_zero;
} now;

static int32_t function_of[LEDGER_FUNCTIONS]; /* seen number -> function, -1 - pseudo function for those */
static uint32_t n_seen = SEEN_FIRST;
static uint32_t *seen_of; /* function -> seen number, 0 not yet */

#define MAX_PHASES 4096
static struct {
    uint16_t number;
    uint64_t raw, rep, idle;
} phases[MAX_PHASES];
static uint32_t n_phases;

/* Things that should not happen; any that did is in the summary. */
static struct {
    uint64_t rows, functions, frames, resync, switches, phases;
} trouble;

/* ---- the virtual clock -------------------------------------------------------------------------------------- */

/*
 * Virtual time is instructions plus what was skipped while the vCPU was halted.  QEMU's clock may not be read from a
 * block that is being executed; read as if by another thread it gives its value at the last time the vCPU stopped,
 * which is exactly what is wanted: it last stopped at the HLT.
 */
static int64_t (*clock_get_ns)(int type);
static void **current_cpu;

/* dlsym gave the address of the calling thread's copy, so this runs in the vCPU's thread, once, when arming. */
static int64_t clock_read(void)
{
    void *self = *current_cpu;
    *current_cpu = NULL;
    int64_t t = clock_get_ns(1 /* QEMU_CLOCK_VIRTUAL */);
    *current_cpu = self;
    return t;
}

static uint64_t time_now(void)
{
    return C->raw + now.idle_total;
}

/* ---- rows ---------------------------------------------------------------------------------------------------- */

static struct cell *row_for(uint8_t role, uint16_t operation)
{
    static struct cell nowhere[LEDGER_FUNCTIONS];
    struct cell *row = ledger_row(now.phase, role, operation);
    if (likely(row))
        return row;
    trouble.rows++;
    return nowhere;
}

static void set_row(void)
{
    now.row = row_for(now.thread->role, thread_operation(now.thread));
}

/* Charges what has executed since the last call. */
static void charge(void)
{
    now.row[now.segment->seen].raw += C->raw - now.last;
    now.last = C->raw;
}

static void put(enum event_kind kind, uint16_t name, int64_t value)
{
    events_put(time_now(), now.thread->index, kind, name, value);
}

/* ---- system calls, exceptions, interrupts -------------------------------------------------------------------- */

static void pending_becomes(uint16_t operation)
{
    struct cell *from = row_for(now.thread->role, OP_PENDING);
    ledger_move(from, row_for(now.thread->role, operation), n_seen);
}

static void leave_syscall(void)
{
    struct thread *t = now.thread;
    if (!t->op && !t->syscall_op)
        pending_becomes(OP_SYSCALL);
    put(EV_SYSCALL_EXIT, t->syscall, 0);
    t->in_syscall = false;
    t->syscall_op = t->syscall = 0;
}

static bool in_user_mode(const struct thread *t)
{
    return t->user && !t->in_syscall && !t->n_frames;
}

static void push_frame(enum frame_kind kind, const struct hook *hook)
{
    struct thread *t = now.thread;
    if (t->n_frames == FRAMES) {
        trouble.frames++;
        return;
    }
    struct frame f = {(uint8_t)kind, in_user_mode(t), hook->name, now.rep_pc, now.retry};
    now.retry = (struct retry){0, NULL};
    t->frames[t->n_frames++] = f;
    put(kind == FRAME_IRQ ? EV_IRQ_ENTER : EV_FAULT_ENTER, hook->name, 0);
}

/* An instruction was counted that did not execute. */
static void take_back(struct cell *cell)
{
    C->raw--;
    now.last--;
    cell->raw--;
}

/* Back to `pc`. */
static void return_from_frame(uint64_t pc)
{
    struct thread *t = now.thread;
    if (t->n_frames) {
        struct frame f = t->frames[--t->n_frames];
        now.rep_pc = f.rep_pc;
        if (f.retry.cell && f.retry.pc == pc)
            take_back(f.retry.cell);
        put(f.kind == FRAME_IRQ ? EV_IRQ_EXIT : EV_FAULT_EXIT, f.name, 0);
    } else if (t->in_syscall) {
        leave_syscall();
    }
}

/* After a HLT: how far did virtual time jump? */
static void idle_ended(void)
{
    now.thread->role = ROLE_IDLE;
    if (!clock_get_ns)
        return;
    put(EV_IDLE_BEGIN, NAME_NONE, 0);
    uint64_t idle = (uint64_t)(clock_read() - now.clock_zero) - C->raw - now.idle_total;
    now.idle_total += idle;
    now.idle_uncharged += idle;
    put(EV_IDLE_END, NAME_NONE, (int64_t)idle);
}

/* The block before ended in an instruction that changes what the thread is doing. */
static void finish_tail(uint8_t tail, uint64_t pc)
{
    if (tail == INSN_MARKER) /* the first instrumented block: instructions and clock start together */
        now.clock_zero = clock_get_ns ? clock_read() : 0;
    else if (tail == INSN_IRET)
        return_from_frame(pc);
    else if (tail == INSN_HLT)
        idle_ended();
    else if (now.thread->in_syscall)
        leave_syscall();
    set_row();
}

/*
 * An exception that restarts its instruction has come in segment `before`, of which `did` instructions were counted:
 * the one that faulted was, when it was attempted, and will be again.  Take it back, at once if it is sure to be one
 * of them.  If all of the segment's were counted, the fault may also have been the fetch's of what follows (user code
 * is paged): it was, if the kernel had just returned there; else where execution is taken up again tells, see
 * return_from_frame().
 */
static void faulted(const struct segment *before, uint64_t began, uint64_t did, struct cell *cell)
{
    now.retry = (struct retry){0, NULL};
    if (!exact || did == 0)
        return;
    if (before->rep_pc && did == before->n) {
        bool repeated = before->rep_pc == before->pc && now.repeat_at == began;
        take_back(cell);
        now.rep_pc = repeated ? before->pc : 0;
        if (repeated) {
            cell->rep_iterations--;
            cell->rep_bytes -= before->rep_size;
            now.rep_total--;
        }
    } else if (did < before->n || (before->class == CLASS_KERNEL && !before->tail)) {
        take_back(cell);
    } else if (!before->tail) {
        now.retry = (struct retry){before->last_pc, cell};
    }
}

static void at_hook(const struct segment *s)
{
    struct thread *t = now.thread;
    struct hook *h = s->hook;
    h->fired++;
    switch (h->kind) {
    case HOOK_SYSCALL:
        t->in_syscall = true;
        break;
    case HOOK_HANDLER:
        if (!t->in_syscall)
            break; /* another handler's helper */
        if (!t->syscall) {
            t->syscall = h->name;
            put(EV_SYSCALL_ENTER, h->name, 0);
        }
        if (!t->op && !t->syscall_op) {
            pending_becomes(h->name);
            t->syscall_op = h->name;
        }
        break;
    case HOOK_FAULT:
    case HOOK_TRAP:
        push_frame(FRAME_EXCEPTION, h);
        break;
    case HOOK_DEVICE:
        now.idle_by_device = now.idle_uncharged != 0;
        push_frame(FRAME_IRQ, h);
        break;
    case HOOK_IRQ:
        push_frame(FRAME_IRQ, h);
        break;
    case HOOK_TIMER: /* the interrupt was a timer's, whatever line it came by */
        now.idle_by_device = false;
        return;
    case HOOK_LOCK:
        put(EV_LOCK, h->name, 0);
        return;
    default:
        return;
    }
    set_row();
}

/* ---- what runs at the beginning of every segment ------------------------------------------------------------- */

static inline __attribute__((always_inline)) void begin(const struct segment *s, bool slow)
{
    const struct segment *before = now.segment;
    uint64_t began = now.last;
    struct cell *cell = &now.row[before->seen];
    uint64_t did = C->raw - began;
    cell->raw += did;
    now.last = C->raw;
    if (slow && unlikely(s->hook && s->hook->kind == HOOK_FAULT))
        faulted(before, began, did, cell);
    if (unlikely(before->tail) && did == before->n)
        finish_tail(before->tail, s->pc);
    if (slow && s->hook)
        at_hook(s);
}

static inline __attribute__((always_inline)) void end(const struct segment *s)
{
    now.row[s->seen].calls += s->entry;
    now.segment = s;
    now.rep_pc = s->rep_pc;
    if (!exact)
        C->raw += s->n;
}

static void on_kernel(unsigned vcpu, void *udata)
{
    (void)vcpu;
    const struct segment *s = udata;
    begin(s, false);
    end(s);
}

static void on_hook(unsigned vcpu, void *udata)
{
    (void)vcpu;
    const struct segment *s = udata;
    begin(s, true);
    end(s);
}

/* The block begins with a REP instruction: is this a further iteration of it? */
static inline void repeat(const struct segment *s)
{
    if (now.rep_pc != s->pc)
        return;
    struct cell *cell = &now.row[s->seen];
    cell->rep_iterations++;
    cell->rep_bytes += s->rep_size;
    now.rep_total++;
    now.repeat_at = now.last;
}

static void on_rep(unsigned vcpu, void *udata)
{
    (void)vcpu;
    const struct segment *s = udata;
    begin(s, false);
    repeat(s);
    end(s);
}

static inline __attribute__((always_inline)) void begin_user(const struct segment *s)
{
    begin(s, false);
    struct thread *t = now.thread;
    if (unlikely(!in_user_mode(t))) {
        if (t->n_frames || t->in_syscall) { /* came back by a way that was not seen */
            trouble.resync++;
            t->n_frames = 0;
            t->in_syscall = false;
            t->syscall_op = t->syscall = 0;
        }
        t->user = true;
        if (t->role == ROLE_KERNEL)
            t->role = ROLE_APP;
        set_row();
    }
    if (s->class == CLASS_APP) {
        if (t->op) {
            put(EV_OP_EXIT, t->op, 0);
            t->op = 0;
            set_row();
        }
        t->in_app = true;
    } else if (t->in_app) {
        if (s->hook && s->hook->kind == HOOK_OP) {
            s->hook->fired++;
            t->op = s->hook->name;
            put(EV_OP_ENTER, t->op, 0);
            set_row();
        }
        t->in_app = false;
    }
}

static void on_user(unsigned vcpu, void *udata)
{
    (void)vcpu;
    const struct segment *s = udata;
    begin_user(s);
    end(s);
}

static void on_user_rep(unsigned vcpu, void *udata)
{
    (void)vcpu;
    const struct segment *s = udata;
    begin_user(s);
    repeat(s);
    end(s);
}

/* ---- threads ------------------------------------------------------------------------------------------------- */

static void on_access(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *udata)
{
    (void)vcpu;
    (void)info;
    struct hook *h = udata;
    uint64_t task = vaddr - (uint64_t)h->disp;
    struct thread *t = now.thread, *other;
    h->fired++;
    switch (h->kind) {
    case HOOK_SWITCH_OUT:
        if (!t->task)
            threads_name(t, task);
        else if (t->task != task) {
            trouble.switches++;
            now.thread = threads_find(task);
        }
        break;
    case HOOK_SWITCH_IN:
        other = threads_find(task);
        if (other == t)
            break;
        put(EV_SWITCH, NAME_NONE, other->index);
        charge();
        now.thread = other;
        set_row();
        if (now.idle_uncharged && other->role != ROLE_IDLE) {
            now.row[now.idle_by_device ? SEEN_DEVICE_WAIT : SEEN_IDLE].idle += now.idle_uncharged;
            now.idle_uncharged = 0;
            now.idle_by_device = false;
        }
        break;
    case HOOK_WAKE:
    case HOOK_NEW: {
        uint16_t op = thread_operation(t);
        if (h->kind == HOOK_NEW) {
            threads_forget(task);
            other = threads_new(task, t->role == ROLE_MAIN ? ROLE_APP : t->role);
        } else {
            other = threads_find(task);
        }
        /* one hop: what a deferred thread wakes is background */
        other->waker = op & OP_DEFERRED || op == OP_BACKGROUND || op == OP_PENDING ? 0 : op;
        put(EV_WAKE, NAME_NONE, other->index);
        break;
    }
    }
}

/* ---- markers ------------------------------------------------------------------------------------------------- */

static void finish(bool complete);
static void on_exit_qemu(WL_EXIT_ARGS);

static void phase_point(bool is_begin, uint16_t number)
{
    charge();
    if (now.idle_uncharged) { /* not reached while a thread opens and closes its own windows */
        row_for(now.thread->role, OP_BACKGROUND)[SEEN_IDLE].idle += now.idle_uncharged;
        now.idle_uncharged = 0;
    }
    if (n_phases == MAX_PHASES) {
        trouble.phases++;
        return;
    }
    phases[n_phases].number = number;
    phases[n_phases].raw = C->raw;
    phases[n_phases].rep = now.rep_total;
    phases[n_phases].idle = now.idle_total;
    n_phases++;
    put(is_begin ? EV_PHASE_BEGIN : EV_PHASE_END, NAME_NONE, number);
    now.phase = is_begin ? number : NO_PHASE;
    set_row();
}

static void on_marker(unsigned vcpu, void *udata)
{
    (void)vcpu;
    uintptr_t code = (uintptr_t)udata;
    if (finished)
        return;
    if (code >= MARK_PHASE && code <= MARK_PHASE_LAST && now.phase == NO_PHASE)
        phase_point(true, (uint16_t)(code - MARK_PHASE));
    else if (code == MARK_PHASE_END && now.phase != NO_PHASE)
        phase_point(false, now.phase);
    else if (code == MARK_DISARM)
        finish(true);
}

/* ---- translation --------------------------------------------------------------------------------------------- */

static uint32_t seen_at(uint64_t pc, int function)
{
    if (function < 0)
        return pc >> 63 ? SEEN_UNKNOWN : SEEN_VDSO;
    if (!seen_of[function]) {
        if (n_seen == LEDGER_FUNCTIONS) {
            trouble.functions++;
            return SEEN_UNKNOWN;
        }
        function_of[n_seen] = function;
        seen_of[function] = n_seen++;
    }
    return seen_of[function];
}

static struct segment *segment_new(uint64_t pc, int function, struct hook *hook)
{
    static struct segment *pool;
    static size_t left;
    if (!left) {
        left = 4096;
        pool = calloc(left, sizeof *pool);
        if (!pool)
            abort();
    }
    struct segment *s = &pool[--left];
    s->pc = pc;
    s->hook = hook;
    s->seen = seen_at(pc, function);
    s->entry = function >= 0 && !config.functions[function].part && config.functions[function].start == pc;
    s->class = function >= 0 ? config.functions[function].class : pc >> 63 ? CLASS_KERNEL : CLASS_LIBC;
    return s;
}

static wl_exec_cb callback_of(const struct segment *s, bool begins_with_rep)
{
    if (s->class != CLASS_KERNEL)
        return begins_with_rep ? on_user_rep : on_user;
    return begins_with_rep ? on_rep : s->hook ? on_hook : on_kernel;
}

static bool of_access(const struct hook *h)
{
    return h->kind >= HOOK_SWITCH_OUT;
}

static void on_trans_armed(WL_TRANS_ARGS)
{
    WL_UNUSED_TRANS;
    size_t n = qemu_plugin_tb_n_insns(tb);
    struct segment *s = NULL;
    struct insn_info info = {0};
    uint64_t pc = 0;
    struct qemu_plugin_insn *insn = NULL;
    for (size_t i = 0; i < n; i++) {
        uint8_t bytes[16];
        insn = qemu_plugin_tb_get_insn(tb, i);
        pc = qemu_plugin_insn_vaddr(insn);
        info = insn_decode(bytes, wl_insn_bytes(insn, bytes));
        struct hook *hook = config_hook(&config, pc);
        if (hook && of_access(hook)) {
            qemu_plugin_register_vcpu_mem_cb(insn, on_access, QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_RW, hook);
            hook = NULL;
        }
        int function = config_function(&config, pc);
        if (!s || hook || seen_at(pc, function) != s->seen) {
            struct segment *next = segment_new(pc, function, hook);
            wl_exec_cb cb = callback_of(next, info.kind == INSN_REP);
            if (s)
                qemu_plugin_register_vcpu_insn_exec_cb(insn, cb, QEMU_PLUGIN_CB_NO_REGS, next);
            else
                qemu_plugin_register_vcpu_tb_exec_cb(tb, cb, QEMU_PLUGIN_CB_NO_REGS, next);
            s = next;
        }
        if (info.kind == INSN_MARKER)
            qemu_plugin_register_vcpu_insn_exec_cb(insn, on_marker, QEMU_PLUGIN_CB_NO_REGS,
                                                   (void *)(uintptr_t)info.marker);
        if (exact)
            wl_inline_add(&counters, insn, offsetof(struct counters, raw), 1);
        s->n++;
    }
    if (!s)
        return;
    if (info.kind == INSN_REP) {
        s->rep_pc = pc;
        s->rep_size = info.rep_size;
    } else if (info.kind == INSN_IRET || info.kind == INSN_SYSRET || info.kind == INSN_HLT) {
        s->tail = info.kind;
    }
    s->last_pc = pc;
}

static void on_reset(WL_RESET_ARGS)
{
    WL_UNUSED_RESET;
    wl_register_trans(plugin_id, on_trans_armed);
    qemu_plugin_register_atexit_cb(plugin_id, on_exit_qemu, NULL);
}

static void on_arm(unsigned vcpu, void *udata)
{
    (void)vcpu;
    (void)udata;
    static const struct segment nothing = {.seen = SEEN_UNKNOWN, .tail = INSN_MARKER};
    if (armed)
        return;
    armed = true;
    C = wl_counters_find(&counters);
    memset(C, 0, sizeof *C);
    current_cpu = clock_get_ns ? dlsym(RTLD_DEFAULT, "current_cpu") : NULL;
    now.phase = NO_PHASE;
    now.segment = &nothing;
    now.thread = threads_new(0, ROLE_MAIN);
    now.thread->user = now.thread->in_app = true;
    set_row();
    /* Drops every callback and flushes all code; what is translated from then on is instrumented. */
    wl_reset(plugin_id, on_reset);
}

static void on_trans_waiting(WL_TRANS_ARGS)
{
    WL_UNUSED_TRANS;
    size_t n = qemu_plugin_tb_n_insns(tb);
    for (size_t i = 0; i < n; i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        if (qemu_plugin_insn_size(insn) != 7)
            continue;
        uint8_t bytes[16];
        struct insn_info info = insn_decode(bytes, wl_insn_bytes(insn, bytes));
        if (info.kind == INSN_MARKER && info.marker == MARK_ARM)
            qemu_plugin_register_vcpu_insn_exec_cb(insn, on_arm, QEMU_PLUGIN_CB_NO_REGS, NULL);
    }
}

/* ---- the end ------------------------------------------------------------------------------------------------- */

static FILE *out_open(const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", out_dir, name);
    return fopen(path, "w");
}

static void write_summary(FILE *f, bool complete, bool ledger_written, uint64_t lost)
{
    fprintf(f, "{\"api\": %d, \"exact\": %s, \"complete\": %s, \"ledger_written\": %s, \"clock\": %s,\n", WL_API,
            exact ? "true" : "false", complete ? "true" : "false", ledger_written ? "true" : "false",
            clock_get_ns ? "true" : "false");
    fprintf(f, " \"raw\": %" PRIu64 ", \"idle\": %" PRIu64 ", \"lost_events\": %" PRIu64 ",\n", C ? C->raw : 0,
            now.idle_total, lost);
    fprintf(f, " \"trouble\": {\"rows\": %" PRIu64 ", \"functions\": %" PRIu64 ", \"frames\": %" PRIu64, trouble.rows,
            trouble.functions, trouble.frames);
    fprintf(f, ", \"resync\": %" PRIu64 ", \"switches\": %" PRIu64 ", \"phases\": %" PRIu64 "},\n", trouble.resync,
            trouble.switches, trouble.phases);
    fprintf(f, " \"points\": [");
    for (uint32_t i = 0; i < n_phases; i++)
        fprintf(f, "%s[%u, %" PRIu64 ", %" PRIu64 ", %" PRIu64 "]", i ? ", " : "", phases[i].number, phases[i].raw,
                phases[i].rep, phases[i].idle);
    fprintf(f, "],\n \"roles\": [");
    for (uint32_t i = 0; i < threads_count(); i++)
        fprintf(f, "%s%u", i ? ", " : "", threads_at(i)->role);
    fprintf(f, "],\n \"fired\": [");
    for (size_t i = 0; i < config.n_hooks; i++)
        fprintf(f, "%s%" PRIu64, i ? ", " : "", config.hooks[i].fired);
    fprintf(f, "]}\n");
}

static void on_reset_finished(WL_RESET_ARGS)
{
    WL_UNUSED_RESET; /* nothing is registered again: the rest runs at full speed */
}

static void finish(bool complete)
{
    if (finished)
        return;
    finished = true;
    if (armed)
        charge();
    uint64_t lost = events_close();
    FILE *f = out_open("ledger.bin");
    bool written = f && ledger_write(f, n_seen, function_of);
    written = f && fclose(f) == 0 && written;
    f = out_open("summary.json");
    if (f) {
        write_summary(f, complete, written, lost);
        if (fclose(f) != 0)
            fprintf(stderr, "weaklink-exec: the summary could not be written\n");
    }
    if (complete)
        wl_reset(plugin_id, on_reset_finished);
}

static void on_exit_qemu(WL_EXIT_ARGS)
{
    WL_UNUSED_EXIT;
    finish(false);
}

WL_EXPORT int qemu_plugin_version = WL_API;

WL_EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
    const char *path = NULL;
    plugin_id = id;
    exact = true;
    for (int i = 0; i < argc; i++) {
        if (!strncmp(argv[i], "config=", 7))
            path = argv[i] + 7;
        else if (!strncmp(argv[i], "out=", 4))
            out_dir = strdup(argv[i] + 4);
        else if (!strncmp(argv[i], "mode=", 5))
            exact = strcmp(argv[i] + 5, "block") != 0;
    }
    if (!path || !out_dir || strcmp(info->target_name, "x86_64") || info->system.max_vcpus != 1) {
        fprintf(stderr, "weaklink-exec: needs config=, out=, x86_64 and one vCPU\n");
        return 1;
    }
    if (!config_read(&config, path))
        return 1;
    char events[4096];
    snprintf(events, sizeof events, "%s/events.bin", out_dir);
    if (!events_open(events)) {
        fprintf(stderr, "weaklink-exec: %s cannot be written\n", events);
        return 1;
    }
    wl_counters_new(&counters, sizeof *C);
    seen_of = calloc(config.n_functions + 1, sizeof *seen_of);
    for (int i = 0; i < SEEN_FIRST; i++)
        function_of[i] = -1 - i;
    clock_get_ns = (int64_t(*)(int))dlsym(RTLD_DEFAULT, "qemu_clock_get_ns");
    if (!dlsym(RTLD_DEFAULT, "current_cpu"))
        clock_get_ns = NULL;
    wl_register_trans(id, on_trans_waiting);
    qemu_plugin_register_atexit_cb(id, on_exit_qemu, NULL);
    return 0;
}
