/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What runs at the beginning of every segment, and at the accesses that tell threads apart. */
#include "state.h"

static void enter_operation(struct hook *h)
{
    h->fired++;
    now.thread->op = h->name;
    put(EV_OP_ENTER, h->name, 0);
    set_row();
}

/* Code of the kernel follows other code, or an IRET.  Has the app called it, as its libc? */
static void called_kernel(const struct segment *s)
{
    struct thread *t = now.thread;
    struct hook *h = s->hook;
    if (!t->in_app || !in_user_mode(t) || (h && (h->kind == HOOK_SYSCALL || entered_by_interrupt(h))))
        return;
    t->in_app = false;
    if (h && h->kind == HOOK_OP)
        enter_operation(h);
}

static void tail_ended(uint8_t tail, const struct segment *s)
{
    if (tail == INSN_OUT)
        window_listen();
    else
        finish_tail(tail, s);
    if (tail == INSN_MARKER)
        window_first_block();
}

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
        tail_ended(before->tail, s);
    if (slow && config.shared && (before->class != CLASS_KERNEL || before->tail == INSN_IRET))
        called_kernel(s);
    if (slow && s->hook)
        at_hook(s, before);
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
    } else if (t->in_app && s->class != CLASS_STUB) {
        if (s->hook && s->hook->kind == HOOK_OP)
            enter_operation(s->hook);
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

/* The machine was idle until `t` could go on: the first that was woken, else the first that ran. */
static void charge_idle(const struct thread *t)
{
    if (!now.idle_uncharged || t->role == ROLE_IDLE)
        return;
    struct cell *row = row_for(t->role, thread_operation(t));
    row[now.idle_by_device ? SEEN_DEVICE_WAIT : SEEN_IDLE].idle += now.idle_uncharged;
    now.idle_uncharged = 0;
    now.idle_by_device = false;
}

/* A process of its own, unless it is a thread that one of the program's makes. */
static uint32_t process_of_new(const struct thread *creator)
{
    const struct window *w = &config.window;
    static uint32_t processes;
    for (size_t i = 0; i < w->n_threads; i++)
        if (creator->op == w->threads[i])
            return creator->process;
    return w->n_threads ? ++processes : creator->process;
}

void on_access(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *udata)
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
        pending_ends(); /* another thread's, or another phase's, must not be taken for it */
        now.thread = other;
        set_row();
        charge_idle(other);
        break;
    case HOOK_WAKE:
    case HOOK_NEW: {
        uint16_t op = thread_operation(t);
        if (h->kind == HOOK_NEW) {
            threads_forget(task);
            other = threads_new(task, t->role == ROLE_MAIN ? ROLE_APP : t->role);
            other->process = process_of_new(t);
        } else {
            other = threads_find(task);
        }
        /* one hop: what a deferred thread wakes is background */
        other->waker = op & OP_DEFERRED || op == OP_BACKGROUND || op == OP_PENDING ? 0 : op;
        put(EV_WAKE, NAME_NONE, other->index);
        charge_idle(other);
        break;
    }
    }
}

wl_exec_cb callback_of(const struct segment *s, bool begins_with_rep)
{
    if (s->class != CLASS_KERNEL)
        return begins_with_rep ? on_user_rep : on_user;
    return begins_with_rep ? on_rep : s->hook || config.shared ? on_hook : on_kernel;
}
