/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A machine of several vCPUs for the whole plugin: QEMU's plugin interface, a thread for each vCPU, and a little kernel
 * on it whose threads call, fault, are interrupted, wait, are woken and switched at random; see test_vcpus.py.
 *
 * vCPUs hand guest threads to each other by relaxed atomics only, as the guest's own locks are nothing that the plugin
 * may rely on: whatever order there is between two vCPUs' callbacks, the plugin has to have made.
 */
#include "qemu_api.h"
#include "threads.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_INSNS = 8, MAX_CBS = 4, TASKS = 24, VCPUS_MOST = 8 };

/* Code, one block each: `first` is where, the letters are its instructions. */
enum block {
    APP, LIBC, ENTRY, HANDLER, WORK, EXIT, FAULT_ENTRY, IRQ_ENTRY, IRET_BLOCK, SWITCH, WAKE, NEW, HALT, LOCK,
    MARK_ARM, MARK_DISARM, MARK_END, MARK_BEGIN, BLOCKS = MARK_BEGIN + 8
};
#define KERNEL 0xffffffff81000000u
static const struct {
    uint64_t first;
    const char *insns; /* n NOP, m an access, s SYSRET, i IRET, h HLT */
} code[MARK_ARM] = {
    [APP] = {0x400000, "nmnn"},           [LIBC] = {0x500000, "nnm"},         [ENTRY] = {KERNEL + 0x0000, "nn"},
    [HANDLER] = {KERNEL + 0x1000, "nmn"}, [WORK] = {KERNEL + 0xa000, "mnnm"}, [EXIT] = {KERNEL + 0x2000, "ns"},
    [FAULT_ENTRY] = {KERNEL + 0x3000, "nn"}, [IRQ_ENTRY] = {KERNEL + 0x4000, "n"},
    [IRET_BLOCK] = {KERNEL + 0x5000, "ni"},  [SWITCH] = {KERNEL + 0x6000, "nmmn"},
    [WAKE] = {KERNEL + 0x7000, "nm"},        [NEW] = {KERNEL + 0x8000, "nm"}, [HALT] = {KERNEL + 0x9000, "nh"},
    [LOCK] = {KERNEL + 0xb000, "nn"},
};

struct qemu_plugin_insn {
    uint64_t pc;
    uint8_t bytes[16];
    size_t size;
    wl_exec_cb exec[MAX_CBS];
    void *exec_data[MAX_CBS];
    int n_exec;
    wl_mem_cb mem;
    void *mem_data;
    uint64_t add;
    size_t add_offset;
};
struct qemu_plugin_tb {
    struct qemu_plugin_insn insns[MAX_INSNS];
    size_t n;
    wl_exec_cb exec;
    void *exec_data;
};
struct qemu_plugin_scoreboard {
    char *data;
    size_t size;
};

static unsigned n_cpus;
static struct qemu_plugin_scoreboard board;
static wl_trans_cb on_translation;
static wl_reset_cb on_stopped;
static pthread_rwlock_t running = PTHREAD_RWLOCK_INITIALIZER; /* read: in a block; written: all are stopped */
static pthread_mutex_t asking = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(struct qemu_plugin_tb *) blocks[BLOCKS];
static atomic_bool over;

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb) { return tb->n; }
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t i)
{
    return (struct qemu_plugin_insn *)&tb->insns[i];
}
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn) { return insn->pc; }
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn) { return insn->size; }
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *insn, void *to, size_t n)
{
    memcpy(to, insn->bytes, n < insn->size ? n : insn->size);
    return insn->size;
}
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb, wl_exec_cb cb, int flags, void *data)
{
    (void)flags;
    tb->exec = cb;
    tb->exec_data = data;
}
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, wl_exec_cb cb, int flags, void *data)
{
    (void)flags;
    if (insn->n_exec == MAX_CBS)
        abort();
    insn->exec[insn->n_exec] = cb;
    insn->exec_data[insn->n_exec++] = data;
}
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *insn, wl_mem_cb cb, int flags, int rw, void *data)
{
    (void)flags, (void)rw;
    insn->mem = cb;
    insn->mem_data = data;
}
struct qemu_plugin_scoreboard *qemu_plugin_scoreboard_new(size_t size)
{
    board = (struct qemu_plugin_scoreboard){calloc(n_cpus, size), size};
    return &board;
}
void *qemu_plugin_scoreboard_find(struct qemu_plugin_scoreboard *score, unsigned vcpu)
{
    return score->data + vcpu * score->size;
}
void qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(struct qemu_plugin_insn *insn, int op, qemu_plugin_u64 entry,
                                                         uint64_t add)
{
    (void)op;
    insn->add += add;
    insn->add_offset = entry.offset;
}
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, wl_trans_cb cb)
{
    (void)id;
    on_translation = cb;
}
void qemu_plugin_reset(qemu_plugin_id_t id, wl_reset_cb cb)
{
    (void)id;
    pthread_mutex_lock(&asking);
    on_stopped = cb;
    pthread_mutex_unlock(&asking);
}
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id, wl_exit_cb cb, void *data) { (void)id, (void)cb, (void)data; }
struct qemu_plugin_hwaddr;
struct qemu_plugin_hwaddr *qemu_plugin_get_hwaddr(qemu_plugin_meminfo_t info, uint64_t vaddr)
{
    (void)info, (void)vaddr;
    return NULL;
}
bool qemu_plugin_hwaddr_is_io(const struct qemu_plugin_hwaddr *where)
{
    (void)where;
    return false;
}

static struct qemu_plugin_tb *translated(enum block b)
{
    struct qemu_plugin_tb *tb = atomic_load_explicit(&blocks[b], memory_order_acquire);
    if (tb)
        return tb;
    tb = calloc(1, sizeof *tb);
    const char *insns = b < MARK_ARM ? code[b].insns : "k";
    uint64_t pc = b < MARK_ARM ? code[b].first : 0x410000u + 16u * b;
    for (; insns[tb->n]; tb->n++) {
        struct qemu_plugin_insn *insn = &tb->insns[tb->n];
        uint8_t mark = b < MARK_BEGIN ? (uint8_t)(b - MARK_ARM + 1) : (uint8_t)(b - MARK_BEGIN + 0x10);
        static const struct {
            uint8_t bytes[4];
            size_t size;
        } kinds[128] = {
            ['n'] = {{0x90}, 1}, ['m'] = {{0x48, 0x8b, 0x07}, 3}, ['s'] = {{0x48, 0x0f, 0x07}, 3},
            ['i'] = {{0x48, 0xcf}, 2}, ['h'] = {{0xf4}, 1}};
        *insn = (struct qemu_plugin_insn){.pc = pc, .size = kinds[(int)insns[tb->n]].size};
        memcpy(insn->bytes, kinds[(int)insns[tb->n]].bytes, 4);
        if (insns[tb->n] == 'k') {
            memcpy(insn->bytes, (uint8_t[7]){0x0f, 0x1f, 0x80, mark, 0x00, 0xed, 0x5e}, 7);
            insn->size = 7;
        }
        pc += insn->size;
    }
    if (on_translation)
        on_translation(1, tb);
    atomic_store_explicit(&blocks[b], tb, memory_order_release);
    return tb;
}

/* The guest: tasks are at an address, and on one vCPU or none. */
struct task {
    atomic_int state;
};
enum { NOT_THERE, READY, RUNS };
static struct task tasks[TASKS + VCPUS_MOST]; /* those behind TASKS are the vCPUs' idle ones */
static atomic_uint n_tasks; /* there, or being made */
static int rounds, phases;

struct cpu {
    unsigned number, task, random;
    bool seized; /* may be handed on before the switch is through */
};

static uint64_t address(unsigned task)
{
    return 0xffff888000000000u + task * 0x1000ull;
}

static unsigned draw(unsigned *random, unsigned n)
{
    *random = *random * 1103515245u + 12345u;
    return (*random >> 16) % n;
}

static void stop_all(void)
{
    pthread_mutex_lock(&asking);
    bool asked = on_stopped != NULL;
    pthread_mutex_unlock(&asking);
    if (!asked)
        return;
    pthread_rwlock_wrlock(&running);
    pthread_mutex_lock(&asking);
    wl_reset_cb cb = on_stopped;
    on_stopped = NULL;
    pthread_mutex_unlock(&asking);
    if (cb) {
        on_translation = NULL;
        for (int b = 0; b < BLOCKS; b++)
            atomic_store(&blocks[b], NULL);
        cb(1);
    }
    pthread_rwlock_unlock(&running);
}

/* Executes the first `most` instructions of a block; its accesses are to `first` and then to `second`. */
static void run(struct cpu *c, enum block b, size_t most, uint64_t first, uint64_t second)
{
    pthread_rwlock_rdlock(&running);
    struct qemu_plugin_tb *tb = translated(b);
    uint64_t accessed[2] = {first, second};
    int n = 0;
    if (tb->exec)
        tb->exec(c->number, tb->exec_data);
    for (size_t i = 0; i < tb->n && i < most; i++) {
        struct qemu_plugin_insn *insn = &tb->insns[i];
        for (int e = 0; e < insn->n_exec; e++)
            insn->exec[e](c->number, insn->exec_data[e]);
        if (insn->add)
            *(uint64_t *)(board.data + c->number * board.size + insn->add_offset) += insn->add;
        if (insn->mem && n < 2)
            insn->mem(c->number, 0, accessed[n], insn->mem_data);
        n += b < MARK_ARM && code[b].insns[i] == 'm';
        if (b == SWITCH && n == 1 && c->seized) /* as FreeBSD's and OSv's: the old one may run elsewhere by now */
            atomic_store_explicit(&tasks[c->task].state, READY, memory_order_relaxed);
    }
    pthread_rwlock_unlock(&running);
    stop_all();
}

static void all(struct cpu *c, enum block b)
{
    run(c, b, MAX_INSNS, 0, 0);
}

static void switch_to(struct cpu *c, unsigned next)
{
    unsigned old = c->task;
    c->seized = draw(&c->random, 2);
    run(c, SWITCH, MAX_INSNS, address(old), address(next));
    c->task = next;
    if (!c->seized)
        atomic_store_explicit(&tasks[old].state, READY, memory_order_relaxed);
}

/* Another task that is ready, taken; the vCPU's idle one if there is none. */
static unsigned pick(struct cpu *c)
{
    unsigned n = atomic_load_explicit(&n_tasks, memory_order_relaxed), from = draw(&c->random, n);
    for (unsigned i = 0; i < n; i++) {
        unsigned t = (from + i) % n;
        int ready = READY;
        if (t != c->task && draw(&c->random, 4) &&
            atomic_compare_exchange_strong_explicit(&tasks[t].state, &ready, RUNS, memory_order_relaxed, memory_order_relaxed))
            return t;
    }
    return c->task < TASKS ? TASKS + c->number : c->task;
}

static void wake(struct cpu *c)
{
    unsigned t = draw(&c->random, atomic_load_explicit(&n_tasks, memory_order_relaxed));
    if (atomic_load_explicit(&tasks[t].state, memory_order_relaxed) != NOT_THERE)
        run(c, WAKE, MAX_INSNS, address(t), 0);
}

static void make(struct cpu *c)
{
    unsigned n = atomic_load_explicit(&n_tasks, memory_order_relaxed);
    if (n == TASKS ||
        !atomic_compare_exchange_strong_explicit(&n_tasks, &n, n + 1, memory_order_relaxed, memory_order_relaxed))
        return;
    run(c, NEW, MAX_INSNS, address(n), 0);
    atomic_store_explicit(&tasks[n].state, READY, memory_order_relaxed);
}

static void interrupt(struct cpu *c)
{
    all(c, IRQ_ENTRY);
    if (!draw(&c->random, 3))
        wake(c);
    all(c, IRET_BLOCK);
}

static void give_way(struct cpu *c)
{
    unsigned next = pick(c);
    if (next != c->task)
        switch_to(c, next);
}

static void call(struct cpu *c)
{
    bool op = draw(&c->random, 2);
    if (op)
        all(c, LIBC);
    all(c, ENTRY);
    if (!draw(&c->random, 8))
        give_way(c); /* before anybody knows which call it is: what comes back here is another task's call */
    else
        all(c, HANDLER);
    for (unsigned i = draw(&c->random, 4); i; i--)
        switch (draw(&c->random, 6)) {
        case 0:
            wake(c);
            break;
        case 1:
            make(c);
            break;
        case 2:
            all(c, LOCK);
            break;
        case 3:
            interrupt(c);
            break;
        default:
            all(c, WORK);
        }
}

/* One step of the task that the vCPU has: tasks have no stack here, so that each is switched out in its system call. */
static void step(struct cpu *c)
{
    if (c->task >= TASKS) {
        all(c, HALT);
        nanosleep(&(struct timespec){.tv_nsec = 1000}, NULL);
        interrupt(c);
        give_way(c);
        if (c->task < TASKS)
            all(c, EXIT);
        return;
    }
    run(c, APP, 1 + draw(&c->random, 4), 0, 0);
    switch (draw(&c->random, 8)) {
    case 0:
        interrupt(c);
        break;
    case 1:
        all(c, FAULT_ENTRY);
        all(c, WORK);
        all(c, IRET_BLOCK);
        break;
    default:
        call(c);
        give_way(c);
        if (c->task < TASKS)
            all(c, EXIT);
    }
}

static void mark(struct cpu *c, enum block b)
{
    while (c->task >= TASKS) /* programs do */
        step(c);
    all(c, b);
}

static void *cpu(void *argument)
{
    struct cpu *c = argument;
    c->task = c->number ? TASKS + c->number : 0;
    atomic_store_explicit(&tasks[c->task].state, RUNS, memory_order_relaxed);
    if (!c->number) { /* the program: as any task, but that it marks phases wherever it happens to run */
        all(c, APP);
        all(c, MARK_ARM);
        for (int p = 0; p < phases; p++) {
            mark(c, (enum block)(MARK_BEGIN + p % 8));
            for (int i = 0; i < rounds; i++)
                step(c);
            mark(c, MARK_END);
        }
        mark(c, MARK_DISARM);
        atomic_store(&over, true);
    }
    while (!atomic_load(&over))
        step(c);
    return NULL;
}

extern int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv);

/* VCPUS SEED ROUNDS PHASES, and what the plugin is told. */
int main(int argc, char **argv)
{
    if (argc < 5)
        return 2;
    n_cpus = (unsigned)atoi(argv[1]);
    rounds = atoi(argv[3]);
    phases = atoi(argv[4]);
    atomic_store(&n_tasks, 6);
    for (int i = 1; i < 6; i++)
        atomic_store(&tasks[i].state, READY);
    qemu_info_t info = {.target_name = "x86_64", .system = {(int)n_cpus, (int)n_cpus}};
    if (qemu_plugin_install(1, &info, argc - 5, argv + 5))
        return 1;
    pthread_t threads[VCPUS_MOST];
    struct cpu cpus[VCPUS_MOST];
    for (unsigned i = 0; i < n_cpus; i++) {
        cpus[i] = (struct cpu){.number = i, .random = (unsigned)atoi(argv[2]) * 977u + i};
        pthread_create(&threads[i], NULL, cpu, &cpus[i]);
    }
    for (unsigned i = 0; i < n_cpus; i++)
        pthread_join(threads[i], NULL);
    return 0;
}
