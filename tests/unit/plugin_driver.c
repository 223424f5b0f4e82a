/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Asks the plugin's parts one question each; see test_exec_plugin_c.py. */
#include "config.h"
#include "costly.h"
#include "events.h"
#include "guest.h"
#include "insn.h"
#include "ledger.h"
#include "results.h"
#include "state.h"
#include "switches.h"
#include "threads.h"
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static int insns(char what) /* a line of hex bytes in, kind, size and marker out; or whether it is quiet; or its class */
{
    char line[256];
    while (fgets(line, sizeof line, stdin)) {
        uint8_t bytes[16] = {0};
        size_t n = 0;
        for (char *p = line; n < 16 && sscanf(p, "%2hhx", &bytes[n]) == 1; p += 2)
            n++;
        struct insn_info info = insn_decode(bytes, n);
        if (what == 'q')
            printf("%d\n", info.quiet);
        else if (what == 'c')
            printf("%u %d\n", info.costly, info.moves);
        else
            printf("%u %u %u\n", info.kind, info.rep_size, info.marker);
    }
    return 0;
}

static int look_up(const char *path, int n, char **addresses)
{
    if (!config_read(&config, path))
        return 1;
    for (int i = 0; i < n; i++) {
        uint64_t addr = strtoull(addresses[i], NULL, 16);
        struct hook *h = config_hook(&config, addr);
        int f = config_function(&config, addr);
        printf("%d %d %d\n", f, h ? (int)(h - config.hooks) : -1, f < 0 ? -1 : config.functions[f].part);
    }
    return 0;
}

static int threads(void)
{
    struct thread *first = threads_new(0, ROLE_MAIN); /* its task is not known yet */
    threads_name(first, 0x1000);
    printf("%d\n", threads_find(0x1000) == first);
    struct thread *found = threads_find(0x2000);
    printf("%u %u %d\n", found->index, found->role, threads_find(0x2000) == found);
    threads_forget(0x2000); /* the thread ended, and the kernel uses its memory for another one */
    struct thread *again = threads_new(0x2000, ROLE_APP);
    printf("%u %d %d\n", again->index, threads_find(0x2000) == again, threads_find(0x2000) != found);
    threads_forget(0x2000);
    struct thread *third = threads_find(0x2000);
    printf("%u %u\n", third->index, third->role);
    threads_forget(0x9999); /* never seen */
    for (uint64_t i = 0; i < 5000; i++) /* grows several times */
        threads_find(0xffff888000000000u + i * 0x40);
    int same = threads_find(0x1000) == first && threads_find(0x2000) == third;
    for (uint64_t i = 0; i < 5000; i++)
        same &= threads_find(0xffff888000000000u + i * 0x40)->index == 4 + i;
    printf("%d %u\n", same, threads_count());
    for (uint32_t i = 0; i < threads_count(); i++)
        same &= threads_at(i)->index == i;
    printf("%d\n", same);
    return 0;
}

static int operations(void)
{
    struct thread t = {.role = ROLE_APP};
    printf("%u", thread_operation(&t));
    t.waker = 77;
    printf(" %u", thread_operation(&t));
    t.role = ROLE_IDLE;
    printf(" %u", thread_operation(&t));
    t.role = ROLE_APP;
    t.user = true;
    printf(" %u", thread_operation(&t));
    t.in_syscall = true;
    printf(" %u", thread_operation(&t));
    t.syscall_op = 88;
    printf(" %u", thread_operation(&t));
    t.op = 99;
    printf(" %u", thread_operation(&t));
    t.frames[t.n_frames++] = (struct frame){.kind = FRAME_EXCEPTION, .from_user = false, .name = 55};
    printf(" %u", thread_operation(&t));
    t.frames[0].from_user = true;
    printf(" %u", thread_operation(&t));
    t.frames[t.n_frames++] = (struct frame){.kind = FRAME_IRQ, .name = 66};
    printf(" %u\n", thread_operation(&t));
    return 0;
}

static int ledger(const char *path, const char *costly_path)
{
    enum { N = 10 };
    int32_t function_of[N];
    for (int i = 0; i < N; i++)
        function_of[i] = i < 4 ? -1 - i : i - 4;
    struct cell *a = ledger_row(0, 1, ROLE_MAIN, 5), *b = ledger_row(0, 1, ROLE_APP, 5), *c = ledger_row(0, 2, ROLE_MAIN, 5);
    printf("%d %d\n", a != b && b != c && a != c, a == ledger_row(0, 1, ROLE_MAIN, 5));
    a[4] = (struct cell){100, 1};
    *rep_of(&a[4]) = (struct cell_rep){2, 3};
    a[9] = (struct cell){50, 0};
    idle_of(&a[9])->ns = 7;
    b[4] = (struct cell){1000, 10};
    *rep_of(&b[4]) = (struct cell_rep){20, 30};
    idle_of(&b[4])->ns = 40;
    costly_change(0, &a[4], COSTLY_LOCK, 1);
    for (int i = 0; i < 5; i++)
        costly_change(0, &b[4], i ? COSTLY_LOCK : COSTLY_PAUSE, 1);
    costly_change(0, &a[9], COSTLY_CR3, 1);
    costly_change(0, &a[9], COSTLY_CR3, -1);
    ledger_row(0, NO_PHASE, ROLE_MAIN, 5)[4].raw = 12345; /* outside windows: never written */
    ledger_move(0, a, b, N);
    printf("%d\n", a[4].raw == 0 && idle_of(&a[9])->ns == 0);
    idle_of(&c[0])->ns = 9; /* no instruction, but not empty */
    c[5].raw = ~(uint64_t)0 >> 1;
    FILE *f = fopen(path, "wb"), *costly = fopen(costly_path, "wb");
    bool ok = f && costly && ledger_write(f, costly, N, function_of);
    ok = f && fclose(f) == 0 && fclose(costly) == 0 && ok;
    printf("%d\n", ok);
    return 0;
}

static int events(const char *path, uint32_t n)
{
    if (!events_open(path))
        return 1;
    for (uint32_t i = 0; i < n; i++)
        events_put(&(struct event){.time = i * 3ull, .thread = i % 5, .kind = i % EV_KINDS, .how = i % HOWS,
                                    .name = i % 4, .value = -(int64_t)i, .stack = i % 7 ? i : NO_STACK});
    printf("%" PRIu64 "\n", events_close());
    return 0;
}

static int events_full(const char *path) /* no room for a while, in the middle of an event */
{
    struct rlimit limit;
    getrlimit(RLIMIT_FSIZE, &limit);
    rlim_t most = limit.rlim_cur;
    signal(SIGXFSZ, SIG_IGN);
    limit.rlim_cur = 100000;
    if (!events_open(path) || setrlimit(RLIMIT_FSIZE, &limit))
        return 1;
    for (uint32_t i = 0; i < 3 * 32768; i++) {
        events_put(&(struct event){.time = i, .kind = EV_WAKE, .stack = NO_STACK});
        if (i == 40000) {
            limit.rlim_cur = most;
            setrlimit(RLIMIT_FSIZE, &limit);
        }
    }
    printf("%" PRIu64 "\n", events_close());
    return 0;
}

/* Stands in for clock.c: QEMU's clock says what it is told to. */
static int64_t clock_says;
bool clock_known(void)
{
    return true;
}
int64_t clock_read(void)
{
    return clock_says;
}
uint64_t clock_host(void)
{
    return (uint64_t)clock_says;
}

/* Stands in for guest.c: registers, and memory that begins at MEMORY, are what the test makes them. */
enum { MEMORY = 0x5000, WORDS = 16 };
static uint64_t registers[REG_R15 + 1], memory[WORDS], flags;
bool guest_register(unsigned vcpu, enum guest_register n, uint64_t *value)
{
    (void)vcpu;
    *value = registers[n];
    return true;
}
bool guest_flags(unsigned vcpu, uint64_t *value)
{
    (void)vcpu;
    *value = flags;
    return true;
}
bool guest_memory(unsigned vcpu, uint64_t addr, void *to, size_t n)
{
    (void)vcpu;
    if (addr < MEMORY || addr + n > MEMORY + sizeof memory)
        return false;
    memcpy(to, (char *)memory + (addr - MEMORY), n);
    return true;
}

static struct vcpu *const v = vcpus;

void in_context(uint8_t role); /* for costly_driver.c */
int costly(bool is_exact, int n, char **steps); /* costly_driver.c */

void in_context(uint8_t role)
{
    static const struct segment anything = {.class = CLASS_KERNEL};
    static struct counters count;
    v->c = &count;
    v->segment = &anything;
    v->thread = threads_new(0x1000, role);
}

static int idle(int n, char **readings) /* the clock after each HLT in; idle so far, and idle not charged yet, out */
{
    static const struct segment after = {.class = CLASS_KERNEL};
    in_context(ROLE_KERNEL);
    for (int i = 0; i < n; i++) {
        v->c->raw += 100;
        clock_says = atoll(readings[i]);
        finish_tail(v, INSN_HLT, &after);
        printf("%" PRIu64 " %" PRIu64 "\n", v->idle_total, v->idle_uncharged);
    }
    return 0;
}

static int iret(const char *where) /* what is left open when user code, the kernel, its hooks, or what lies behind follow an IRET */
{
    static struct hook interrupt = {.kind = HOOK_IRQ}, handler = {.kind = HOOK_HANDLER};
    struct segment next = {.class = *where == 'u' ? CLASS_APP : CLASS_KERNEL};
    next.hook = *where == 'i' ? &interrupt : *where == 'h' ? &handler : NULL;
    in_context(ROLE_MAIN);
    next.pc = v->segment->last_pc + (*where == 'b' ? 2 : 7);
    struct thread *t = v->thread;
    t->in_syscall = true;
    finish_tail(v, INSN_IRET, &next);
    printf("%d", t->in_syscall);
    for (int from_user = 1; from_user >= 0; from_user--) {
        t->n_frames = 1;
        t->frames[0] = (struct frame){.kind = FRAME_EXCEPTION, .from_user = from_user};
        finish_tail(v, INSN_IRET, &next);
        printf(" %d", t->n_frames);
    }
    printf("\n");
    return 0;
}

/*
 * Executes segments of one instruction, named by letters: a of the app, l of libc, s a jump stub, k of the kernel; o an
 * operation of the kernel's, O one of libc's; c the kernel's system call entry, h a handler, x a jump that ends the
 * call; f a page fault's entry, i an interrupt's, r an IRET; e where a lock is asked for, w where it is waited for, z
 * where that ends; W and Z where waiting for another begins and ends.  Each is a function.  Behind each one says the
 * operation; then how many instructions are counted; then each operation and how many are charged to it.
 */
static int execute(bool shared, const char *letters, const char *path)
{
    static struct hook hooks[128] = {
        ['o'] = {.kind = HOOK_OP, .name = 70},    ['O'] = {.kind = HOOK_OP, .name = 71},
        ['c'] = {.kind = HOOK_SYSCALL},           ['x'] = {.kind = HOOK_SYSCALL_EXIT},
        ['f'] = {.kind = HOOK_FAULT, .name = 72}, ['e'] = {.kind = HOOK_LOCK_ENTRY, .name = 80},
        ['w'] = {.kind = HOOK_LOCK_WAIT, .name = 80}, ['z'] = {.kind = HOOK_LOCK_END, .name = 80},
        ['W'] = {.kind = HOOK_LOCK, .name = 81},  ['Z'] = {.kind = HOOK_LOCK_END, .name = 81},
        ['i'] = {.kind = HOOK_IRQ, .name = 73},   ['h'] = {.kind = HOOK_HANDLER, .name = 74},
    };
    static struct segment all[128];
    static const struct segment nothing = {.class = CLASS_APP};
    if (!events_open(path))
        return 1;
    segments = all;
    exact = true;
    n_seen = 128;
    config.shared = shared;
    in_context(ROLE_MAIN);
    v->thread->user = v->thread->in_app = true;
    v->segment = &nothing;
    set_row(v);
    for (const char *p = letters; *p; p++) {
        struct segment *s = &segments[(int)*p];
        s->pc = s->last_pc = (uint64_t)*p;
        s->n = 1;
        s->seen = (uint32_t)*p;
        s->class = strchr("lO", *p) ? CLASS_LIBC : *p == 'a' ? CLASS_APP : *p == 's' ? CLASS_STUB : CLASS_KERNEL;
        s->hook = strchr("oOcxfewzWZih", *p) ? &hooks[(int)*p] : NULL;
        s->tail = *p == 'x' ? INSN_SYSRET : *p == 'r' ? INSN_IRET : 0;
        segment_complete(s);
        callback_of(s, false)(0, segment_at(s));
        v->c->raw++;
        printf("%u ", thread_operation(v->thread));
    }
    charge(v);
    printf("%" PRIu64 "\n", v->c->raw);
    for (uint16_t operation = 0; operation < 90; operation++) {
        uint64_t charged = 0;
        for (int i = 0; i < 128; i++)
            charged += row_for(v, ROLE_MAIN, operation)[i].raw;
        if (charged)
            printf("%u %" PRIu64 "\n", operation, charged);
    }
    return events_close() != 0;
}

/*
 * A call of an operation, or of the system, that says by RULE how it failed: RAX and the flags are what it leaves, and it
 * goes on where it was called ("back"), "elsewhere", or an interrupt is there first ("interrupt", "error" with an error
 * code).  Out: how it ended.
 */
static int outcome(char **argument)
{
    static struct hook call = {.kind = HOOK_HANDLER, .name = 70}, interrupt = {.kind = HOOK_IRQ};
    static const struct segment app = {.class = CLASS_APP, .last_pc = 0x1000};
    struct segment after = {.class = CLASS_APP, .pc = 0x1002};
    const char *what = argument[0], *way = argument[4], *path = argument[5];
    bool elsewhere = !strcmp(way, "elsewhere"), with_code = !strcmp(way, "error");
    if (!events_open(path))
        return 1;
    in_context(ROLE_MAIN);
    call.disp = atoi(argument[1]);
    registers[REG_RSP] = MEMORY;
    memory[with_code] = elsewhere ? 0x7777 : after.pc;
    if (!strcmp(what, "operation"))
        operation_entered(v, &call);
    else {
        syscall_entered(v, &call, &app);
        syscall_handled(v, &call);
    }
    registers[REG_RAX] = strtoull(argument[2], NULL, 16);
    registers[REG_R11] = strtoull(argument[3], NULL, 16);
    flags = ~registers[REG_R11];
    if (elsewhere)
        after.pc++;
    else if (strcmp(way, "back")) {
        after = (struct segment){.class = CLASS_KERNEL, .pc = 0x9000, .hook = &interrupt};
    }
    if (!strcmp(what, "operation")) {
        registers[REG_RSP] += elsewhere ? -16 : 8;
        operation_left(v);
    } else
        syscall_left(v, !strcmp(what, "iret") ? INSN_IRET : INSN_SYSRET, &after);
    return events_close() != 0;
}

/*
 * Threads, by words: a letter and a number.  bN says on the way into the scheduler why the thread stops (enum event_how),
 * eN enters it, iN says so inside; sN switches to thread N, wN wakes it, nN makes it, rN makes it ready; I is an
 * interrupt of name N, R the return from it.
 */
static int switches(const char *path, int n, char **words)
{
    static struct hook at[128] = {
        ['b'] = {.kind = HOOK_STOP_BEFORE}, ['e'] = {.kind = HOOK_STOP_ENTRY}, ['i'] = {.kind = HOOK_STOP_INSIDE},
        ['s'] = {.kind = HOOK_SWITCH_IN},   ['w'] = {.kind = HOOK_WAKE},       ['n'] = {.kind = HOOK_NEW},
        ['r'] = {.kind = HOOK_READY},       ['I'] = {.kind = HOOK_IRQ},
    };
    static const struct segment before = {.class = CLASS_KERNEL}, after = {.class = CLASS_KERNEL};
    if (!events_open(path))
        return 1;
    in_context(ROLE_KERNEL);
    v->segment = &before;
    set_row(v);
    for (int i = 0; i < n; i++) {
        struct hook *h = &at[(int)words[i][0]];
        struct segment s = {.class = CLASS_KERNEL, .hook = h};
        int number = atoi(words[i] + 1);
        if (strchr("swnr", words[i][0])) {
            on_access(0, 0, 0x1000ull * (uint64_t)number, h);
        } else if (words[i][0] == 'R') {
            finish_tail(v, INSN_IRET, &after);
        } else {
            h->disp = words[i][0] == 'I' ? 0 : number;
            h->name = words[i][0] == 'I' ? (uint16_t)number : 0;
            at_hook(v, &s, &before);
        }
    }
    return events_close() != 0;
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    if (!strcmp(what, "insn") || !strcmp(what, "quiet") || !strcmp(what, "costly"))
        return insns(what[0]);
    if (!strcmp(what, "config"))
        return look_up(argv[2], argc - 3, argv + 3);
    if (!strcmp(what, "threads"))
        return threads();
    if (!strcmp(what, "operations"))
        return operations();
    if (!strcmp(what, "ledger"))
        return ledger(argv[2], argv[3]);
    if (!strcmp(what, "events"))
        return events(argv[2], (uint32_t)atoi(argv[3]));
    if (!strcmp(what, "full"))
        return events_full(argv[2]);
    if (!strcmp(what, "idle"))
        return idle(argc - 2, argv + 2);
    if (!strcmp(what, "execute"))
        return execute(!strcmp(argv[2], "shared"), argv[3], argv[4]);
    if (!strcmp(what, "switches"))
        return switches(argv[2], argc - 3, argv + 3);
    if (!strcmp(what, "outcome"))
        return outcome(argv + 2);
    if (!strcmp(what, "costly-exact") || !strcmp(what, "costly-block"))
        return costly(what[7] == 'e', argc - 2, argv + 2);
    if (!strcmp(what, "iret"))
        return iret(argv[2]);
    return 2;
}
