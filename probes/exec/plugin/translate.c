/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Cuts translation blocks into segments and puts the callbacks in. */
#include "state.h"
#include "switches.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static pthread_mutex_t translating = PTHREAD_MUTEX_INITIALIZER; /* every vCPU's thread does */
static uint32_t *seen_of; /* function -> seen number, 0 not yet */

bool translate_init(void)
{
    const size_t size = SEGMENTS * sizeof *segments, huge = 2 << 20;
    seen_of = calloc(config.n_functions + 1, sizeof *seen_of);
    char *room = mmap(NULL, size + huge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (!seen_of || room == MAP_FAILED)
        return false;
    segments = (struct segment *)(((uintptr_t)room + huge - 1) / huge * huge);
    madvise(segments, size, MADV_HUGEPAGE); /* fewer faults, if the host can */
    for (int i = 0; i < SEEN_FIRST; i++)
        function_of[i] = -1 - i;
    return true;
}

static bool of_kernel(uint64_t pc)
{
    return pc >= config.kernel_first && pc <= config.kernel_last;
}

static uint32_t seen_at(uint64_t pc, int function)
{
    if (function < 0)
        return of_kernel(pc) ? SEEN_UNKNOWN : SEEN_OUTSIDE;
    if (!seen_of[function]) {
        if (n_seen == LEDGER_FUNCTIONS) {
            TROUBLE(functions);
            return SEEN_UNKNOWN;
        }
        function_of[n_seen] = function;
        seen_of[function] = n_seen;
        __atomic_store_n(&n_seen, n_seen + 1, __ATOMIC_RELAXED);
    }
    return seen_of[function];
}

static struct segment *segment_new(uint64_t pc, int function, struct hook *hook)
{
    static uint32_t n;
    if (n == SEGMENTS) {
        fprintf(stderr, "weaklink-exec: more than %u pieces of code were translated\n", SEGMENTS);
        abort();
    }
    struct segment *s = &segments[n++];
    s->pc = pc;
    s->hook = hook;
    s->seen = seen_at(pc, function);
    s->entry = function >= 0 && !config.functions[function].part && config.functions[function].start == pc;
    s->class = function >= 0 ? config.functions[function].class : of_kernel(pc) ? CLASS_KERNEL : CLASS_LIBC;
    return s;
}

/* What is known of a segment's instructions when the last one has been seen. */
static struct {
    uint64_t addresses[512]; /* QEMU's blocks have no more (TCG_MAX_INSNS) */
    bool devices;            /* one may access a device's memory */
} instructions;

static void instructions_end(struct segment *s)
{
    s->costly = costly_take();
    if (instructions.devices) {
        uint64_t *copy = malloc(s->n * sizeof *copy);
        if (!copy)
            abort();
        s->addresses = memcpy(copy, instructions.addresses, s->n * sizeof *copy);
    }
    instructions.devices = false;
}

static bool of_access(const struct hook *h)
{
    return h->kind >= HOOK_SWITCH_OUT;
}

/*
 * Inline counting.  Only an instruction that may fault must find everything before it counted, so the quiet ones in
 * front of it are counted together with it; and so is all of a segment at its end.
 */
static struct {
    struct qemu_plugin_insn *insn; /* the last one seen */
    unsigned owed;                 /* instructions up to and including it that are not counted yet */
} inline_count;

static void count_owed(void)
{
    if (inline_count.owed && exact)
        wl_inline_add(&counters, inline_count.insn, offsetof(struct counters, raw), inline_count.owed);
    inline_count.owed = 0;
}

/*
 * QEMU's x86 translator takes back an instruction that is not the first of a block and crosses a page (the next block
 * begins with it), after it has told plugins of it.  They see what bytes had been read by then, so that any last
 * instruction near a page's end may be one, unless its bytes are those of a whole one.
 */
static bool perhaps_taken_back(size_t index, size_t n, const struct insn_info *info, uint64_t pc)
{
    return index && index == n - 1 && info->kind == INSN_OTHER && (pc & 0xfff) + 15 > 0x1000;
}

/*
 * Whether a memory callback on the last instruction of a block would be left behind.  Before 8.0 QEMU's translator leaves
 * its loop at an instruction that stops it (x86: the last of a page, or of a block as long as one) without the code that
 * takes the callback away again ("translator: always pair plugin_gen_insn_{start, end} calls"); the next access by a
 * helper calls it, after a flush in freed memory.
 */
static bool leaves_callback(uint64_t block, uint64_t end)
{
    return WL_API < 2 && (end >> 12 != block >> 12 || end - block >= 0x1000 - 32);
}

static void on_trigger(unsigned vcpu, void *udata)
{
    window_reached(&vcpus[vcpu], (uintptr_t)udata);
}

static void on_signal(unsigned vcpu, void *begins)
{
    (begins ? stacks_signal : stacks_signal_returns)(vcpus[vcpu].thread);
}

/*
 * Callbacks of a block, in the order in which they are to be called: registered at its end, since a segment's is given
 * what is known only then.
 */
static struct {
    struct qemu_plugin_insn *insn; /* NULL: at the block's beginning */
    wl_exec_cb callback;
    void *udata;
    const struct segment *segment; /* or that, if it is one's */
} wanted[2048]; /* of 512 instructions */
static size_t n_wanted;

static void want(struct qemu_plugin_insn *insn, wl_exec_cb callback, void *udata, const struct segment *segment)
{
    if (n_wanted == sizeof wanted / sizeof *wanted)
        abort();
    wanted[n_wanted].insn = insn;
    wanted[n_wanted].callback = callback;
    wanted[n_wanted].udata = udata;
    wanted[n_wanted++].segment = segment;
}

static void register_wanted(struct qemu_plugin_tb *tb)
{
    for (size_t i = 0; i < n_wanted; i++) {
        void *udata = wanted[i].segment ? segment_at(wanted[i].segment) : wanted[i].udata;
        if (wanted[i].insn)
            qemu_plugin_register_vcpu_insn_exec_cb(wanted[i].insn, wanted[i].callback, QEMU_PLUGIN_CB_NO_REGS, udata);
        else
            qemu_plugin_register_vcpu_tb_exec_cb(tb, wanted[i].callback, QEMU_PLUGIN_CB_NO_REGS, udata);
    }
    n_wanted = 0;
}

static bool among(const uint64_t *addresses, size_t n, uint64_t pc)
{
    for (size_t i = 0; i < n; i++)
        if (addresses[i] == pc)
            return true;
    return false;
}

/* How call stacks see what ends `s`, at `pc`. */
static void leave(struct segment *s, uint64_t pc, const struct qemu_plugin_insn *insn, const struct insn_info *info)
{
    static const uint8_t leaves[] = {
        [FLOW_NEXT] = LEAVES_NEXT, [FLOW_CALL] = LEAVES_CALL, [FLOW_RET] = LEAVES_RET, [FLOW_JUMP] = LEAVES_JUMP};
    s->leaves = s->tail == INSN_IRET || s->tail == INSN_SYSRET ? LEAVES_MODE : leaves[info->flow];
    s->ret = pc + qemu_plugin_insn_size(insn);
}

static void cut(struct qemu_plugin_tb *tb, wl_exec_cb on_marker)
{
    size_t n = qemu_plugin_tb_n_insns(tb);
    struct segment *s = NULL;
    struct insn_info info = {0};
    uint64_t pc = 0, function_end = 0;
    int function_before = -1;
    for (size_t i = 0; i < n; i++) {
        uint8_t bytes[16];
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        pc = qemu_plugin_insn_vaddr(insn);
        info = insn_decode(bytes, wl_insn_bytes(insn, bytes));
        bool doubtful = perhaps_taken_back(i, n, &info, pc);
        if (doubtful)
            count_owed();
        struct hook *hook = config_hook(&config, pc);
        if (hook && of_access(hook)) {
            qemu_plugin_register_vcpu_mem_cb(insn, on_access, QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_RW, hook);
            hook = NULL;
        }
        int function = i && pc < function_end ? function_before : config_function(&config, pc);
        function_before = function;
        function_end = function < 0 ? 0 : config.functions[function].start + config.functions[function].size;
        bool device = function >= 0 && config.functions[function].devices && info.moves &&
                      !(i == n - 1 && leaves_callback(qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(tb, 0)),
                                                      pc + qemu_plugin_insn_size(insn)));
        if (device)
            qemu_plugin_register_vcpu_mem_cb(insn, on_device, QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_RW,
                                             (void *)(uintptr_t)pc);
        if (!s || hook || seen_at(pc, function) != s->seen) {
            if (s) {
                instructions_end(s);
                segment_complete(s);
            }
            struct segment *next = segment_new(pc, function, hook);
            next->called = next->entry && !info.drops;
            count_owed();
            want(s ? insn : NULL, callback_of(next, info.kind == INSN_REP), NULL, next);
            s = next;
        }
        if (info.kind == INSN_MARKER) {
            count_owed();
            want(insn, on_marker, (void *)(uintptr_t)info.marker, NULL);
        }
        if (window_trigger(pc)) {
            count_owed();
            want(insn, on_trigger, (void *)(uintptr_t)pc, NULL);
        }
        if (stacks && among(config.signals.begins, config.signals.n_begins, pc))
            want(insn, on_signal, insn, NULL);
        if (stacks && among(config.signals.ends, config.signals.n_ends, pc))
            want(insn, on_signal, NULL, NULL);
        if (info.costly)
            costly_add(s->n, info.costly);
        if (s->n < sizeof instructions.addresses / sizeof *instructions.addresses)
            instructions.addresses[s->n] = pc;
        instructions.devices |= device;
        s->n++;
        s->doubtful = doubtful;
        s->before_last_pc = s->last_pc;
        s->last_pc = pc;
        inline_count.insn = insn;
        inline_count.owed++;
        if (!info.quiet)
            count_owed();
    }
    count_owed();
    if (!s)
        return;
    if (info.kind == INSN_HLT)
        clock_before_halt(inline_count.insn);
    instructions_end(s);
    if (info.kind == INSN_REP) {
        s->rep_pc = pc;
        s->rep_size = info.rep_size;
    } else if (s->class == CLASS_KERNEL) { /* user code may not: it gets an exception instead */
        if (info.kind == INSN_IRET || info.kind == INSN_SYSRET || info.kind == INSN_HLT)
            s->tail = info.kind;
        else if (info.kind == INSN_OUT && window_listens())
            s->tail = INSN_OUT;
        else if (s->hook && s->hook->kind == HOOK_SYSCALL_EXIT)
            s->tail = INSN_SYSRET;
    }
    segment_complete(s);
    if (stacks)
        leave(s, pc, inline_count.insn, &info);
    register_wanted(tb);
}

static void hook_markers(struct qemu_plugin_tb *tb, wl_exec_cb on_marker)
{
    for (size_t i = 0, n = qemu_plugin_tb_n_insns(tb); i < n; i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        uint8_t bytes[16];
        struct insn_info info = insn_decode(bytes, wl_insn_bytes(insn, bytes));
        if (info.kind == INSN_MARKER)
            qemu_plugin_register_vcpu_insn_exec_cb(insn, on_marker, QEMU_PLUGIN_CB_NO_REGS,
                                                   (void *)(uintptr_t)info.marker);
    }
}

void translate(struct qemu_plugin_tb *tb, wl_exec_cb on_marker)
{
    lock(&translating);
    (only_marks ? hook_markers : cut)(tb, on_marker);
    unlock(&translating);
}
