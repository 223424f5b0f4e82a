/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What runs at the beginning of every segment. */
#include "results.h"
#include "state.h"

static void enter_operation(struct vcpu *v, struct hook *h)
{
    h->fired[v->number]++;
    operation_entered(v, h);
    set_row(v);
}

/* Code of the kernel follows other code, or an IRET.  Has the app called it, as its libc? */
static void called_kernel(struct vcpu *v, const struct segment *s)
{
    struct thread *t = v->thread;
    struct hook *h = s->hook;
    if (!t->in_app || !in_user_mode(t) || (h && (h->kind == HOOK_SYSCALL || entered_by_interrupt(h))))
        return;
    t->in_app = false;
    if (h && h->kind == HOOK_OP)
        enter_operation(v, h);
}

static void tail_ended(struct vcpu *v, uint8_t tail, const struct segment *s)
{
    if (tail == INSN_OUT)
        window_listen(v);
    else
        finish_tail(v, tail, s);
    if (tail == INSN_MARKER)
        window_first_block(v);
}

/* Whether it is the processor that comes there, from whatever it executed. */
static inline bool is_gate(const struct hook *h)
{
    return h && (h->kind == HOOK_SYSCALL || entered_by_interrupt(h));
}

/* Segment `s` has been reached from `before`, of which `did` instructions were executed: what stack is that? */
static inline __attribute__((always_inline)) void step(struct vcpu *v, const struct segment *before,
                                                       const struct segment *s, uint64_t did)
{
    bool whole = did == before->n;
    if (likely(before->seen == s->seen && (before->leaves == LEAVES_NEXT || !whole)))
        return;
    struct call *top = v->stack->top;
    if (whole && before->leaves == LEAVES_CALL && s->called && !before->doubtful && likely(top + 1 != v->stack->end)) {
        v->node = stacks_child(v->node, s->seen);
        *++top = (struct call){before->ret, v->node, s->seen};
        v->stack->top = top;
    } else if (whole && before->leaves == LEAVES_RET && top->ret == s->pc && top[-1].function == s->seen) {
        v->stack->top = top - 1;
        v->node = top[-1].node;
    } else {
        stacks_step_slow(v, before, s, whole);
    }
}

static inline __attribute__((always_inline)) void begin(struct vcpu *v, const struct segment *s, bool slow, bool stacks)
{
    const struct segment *before = v->segment;
    uint64_t began = v->last;
    struct cell *cell = &v->row[stacks ? v->node : before->seen];
    uint64_t did = v->c->raw - began;
    cell->raw += did;
    v->last = v->c->raw;
    if (unlikely(before->costly)) {
        if (!repeats(v, before, began)) /* a REP instruction counts once */
            charge_costly(v, before, cell, did);
        v->charged = 0;
    }
    if (stacks)
        touch(v);
    if (slow && unlikely(s->hook && s->hook->kind == HOOK_FAULT))
        faulted(v, before, began, did, cell);
    if (unlikely(before->tail) && did == before->n)
        tail_ended(v, before->tail, s);
    bool gate = slow && stacks && is_gate(s->hook);
    if (stacks && !gate)
        step(v, before, s, did);
    if (slow && config.shared && (before->class != CLASS_KERNEL || before->tail == INSN_IRET))
        called_kernel(v, s);
    if (slow && s->hook)
        at_hook(v, s, before);
    if (gate) /* behind the event of it, which is of what was interrupted */
        stacks_enter(v, before, s, did == before->n);
}

static inline __attribute__((always_inline)) void end(struct vcpu *v, const struct segment *s, bool stacks)
{
    v->row[stacks ? v->node : s->seen].calls += s->entry;
    v->segment = s;
    v->rep_pc = s->rep_pc;
    if (!exact)
        v->c->raw += s->n;
}

/* The block begins with a REP instruction: is this a further iteration of it? */
static inline void repeat(struct vcpu *v, const struct segment *s, bool stacks)
{
    if (v->rep_pc != s->pc)
        return;
    struct cell *cell = &v->row[stacks ? v->node : s->seen];
    cell->rep_iterations++;
    cell->rep_bytes += s->rep_size;
    v->rep_total++;
    v->repeat_at = v->last;
}

static inline __attribute__((always_inline)) void begin_user(struct vcpu *v, const struct segment *s, bool stacks)
{
    begin(v, s, false, stacks);
    struct thread *t = v->thread;
    if (unlikely(!in_user_mode(t))) {
        if (t->n_frames || t->in_syscall) { /* came back by a way that was not seen */
            TROUBLE(resync);
            work_done(v);
            t->n_frames = 0;
            t->in_syscall = false;
            t->syscall_op = t->syscall = 0;
            if (stacks)
                stacks_lost(v, s);
        }
        t->user = true;
        if (t->role == ROLE_KERNEL)
            t->role = ROLE_APP;
        set_row(v);
    }
    if (s->class == CLASS_APP) {
        if (t->op) {
            operation_left(v);
            set_row(v);
        }
        t->in_app = true;
    } else if (t->in_app && s->class != CLASS_STUB) {
        if (s->hook && s->hook->kind == HOOK_OP)
            enter_operation(v, s->hook);
        t->in_app = false;
    }
}

static inline __attribute__((always_inline)) void segment_begins(unsigned vcpu, const struct segment *s, bool user,
                                                                 bool slow, bool rep, bool stacks)
{
    struct vcpu *v = &vcpus[vcpu];
    if (user)
        begin_user(v, s, stacks);
    else
        begin(v, s, slow, stacks);
    if (rep)
        repeat(v, s, stacks);
    end(v, s, stacks);
}

/* One callback for each of its kinds, so that none asks what is known at translation. */
#define CALLBACK(NAME, USER, SLOW, REP)                                                                                \
    static void NAME(unsigned vcpu, void *s)                                                                           \
    {                                                                                                                  \
        segment_begins(vcpu, s, USER, SLOW, REP, false);                                                               \
    }                                                                                                                  \
    static void NAME##_stacks(unsigned vcpu, void *s)                                                                  \
    {                                                                                                                  \
        segment_begins(vcpu, s, USER, SLOW, REP, true);                                                                \
    }
CALLBACK(on_kernel, false, false, false)
CALLBACK(on_hook, false, true, false)
CALLBACK(on_rep, false, false, true)
CALLBACK(on_user, true, false, false)
CALLBACK(on_user_rep, true, false, true)

void on_device(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *udata)
{
    const struct vcpu *v = &vcpus[vcpu];
    const struct qemu_plugin_hwaddr *where = qemu_plugin_get_hwaddr(info, vaddr);
    (void)udata;
    if (where && qemu_plugin_hwaddr_is_io(where))
        costly_change(vcpu, &v->row[cell_here(v)], COSTLY_MMIO, 1);
}

/* Of several vCPUs: the other ones do something, too, that matters here. */
static void on_segment(unsigned vcpu, void *udata)
{
    struct vcpu *v = &vcpus[vcpu];
    const struct segment *s = udata;
    if (unlikely(phases_behind(v)))
        phases_catch_up(v);
    s->callback(vcpu, udata);
    if (unlikely(s->tail == INSN_HLT))
        v->halted_at = clock_host();
}

wl_exec_cb callback_of(struct segment *s, bool begins_with_rep)
{
    static const wl_exec_cb callbacks[][2] = {
        {on_kernel, on_kernel_stacks}, {on_hook, on_hook_stacks},         {on_rep, on_rep_stacks},
        {on_user, on_user_stacks},     {on_user_rep, on_user_rep_stacks},
    };
    int kind = s->class != CLASS_KERNEL ? 3 + begins_with_rep : begins_with_rep ? 2 : s->hook || config.shared;
    s->callback = callbacks[kind][stacks];
    return several() ? on_segment : s->callback;
}
