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

static inline __attribute__((always_inline)) void begin(struct vcpu *v, const struct segment *s, bool slow)
{
    const struct segment *before = v->segment;
    uint64_t began = v->last;
    struct cell *cell = v->cell;
    uint64_t did = v->c->raw - began;
    cell->raw += did;
    v->last = v->c->raw;
    if (before->costly) {
        if (!repeats(v, before, began)) /* a REP instruction counts once */
            charge_costly(v, before, cell, did);
        v->charged = 0;
    }
    touch(v);
    if (slow && s->hook && s->hook->kind == HOOK_FAULT)
        faulted(v, before, began, did, cell);
    if (before->tail && did == before->n)
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

static inline __attribute__((always_inline)) void end(struct vcpu *v, const struct segment *s)
{
    v->cell = &v->row[stacks ? v->node : s->seen];
    v->cell->calls += s->entry;
    v->segment = s;
    v->plain = v->pending ? NOT_PLAIN : s->plain;
    v->rep_pc = s->rep_pc;
    if (exact)
        return;
    v->c->raw += s->n;
    if (v->plain) { /* charged at once, and so done with: see on_begin_block() */
        v->cell->raw += s->n;
        v->last = v->c->raw;
    }
}

/* The block begins with a REP instruction: is this a further iteration of it? */
static inline void repeat(struct vcpu *v, const struct segment *s)
{
    if (s->rep_pc != s->pc || v->rep_pc != s->pc)
        return;
    struct cell_rep *rep = rep_of(&v->row[stacks ? v->node : s->seen]);
    rep->iterations++;
    rep->bytes += s->rep_size;
    v->rep_total++;
    v->repeat_at = v->last;
}

static void kernel_begins(struct vcpu *v, const struct segment *s)
{
    begin(v, s, s->hook || config.shared);
    repeat(v, s);
    end(v, s);
}

static void user_begins(struct vcpu *v, const struct segment *s)
{
    begin(v, s, false);
    struct thread *t = v->thread;
    if (!in_user_mode(t)) {
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
    repeat(v, s);
    end(v, s);
}

static __attribute__((noinline)) void segment_begins(struct vcpu *v, const struct segment *s)
{
    (s->class == CLASS_KERNEL ? kernel_begins : user_begins)(v, s);
}

/*
 * `plain` is of what class a segment is, if nothing happens at its end but that the next one begins; `follows` is what
 * that must be of the one before for nothing to happen at its own beginning.
 */
void segment_complete(struct segment *s)
{
    s->plain = s->costly || s->tail || s->rep_pc ? NOT_PLAIN : (uint8_t)(1 + s->class);
    s->follows = s->rep_pc || (s->class == CLASS_KERNEL && s->hook) ? NEVER : (uint8_t)(1 + s->class);
    if (!exact && (stacks || !s->plain)) /* on_begin_block() knows neither */
        s->follows = NEVER;
}

void *segment_at(const struct segment *s)
{
    uint64_t segment = (uint64_t)(s - segments);
    return (void *)(uintptr_t)((uint64_t)s->seen << AT_SEEN | (uint64_t)s->n << AT_N | (uint64_t)s->entry << AT_ENTRY |
                               (uint64_t)s->plain << AT_PLAIN | (uint64_t)s->follows << AT_FOLLOWS | segment << AT_SEGMENT);
}

/*
 * Most segments follow one of the same class, of which nothing else is to be known than how many instructions it
 * executed; nobody can have changed what the thread is doing.
 */
static inline __attribute__((always_inline)) void plain_begins(struct vcpu *v, uint64_t at, bool with_stacks)
{
    const struct segment *s = at_segment(at);
    if (unlikely(v->plain != at_part(at, AT_FOLLOWS, AT_ENTRY))) {
        segment_begins(v, s);
        return;
    }
    uint64_t raw = v->c->raw, did = raw - v->last;
    v->cell->raw += did;
    v->last = raw;
    if (with_stacks)
        step(v, v->segment, s, did);
    struct cell *cell = &v->row[with_stacks ? v->node : at_part(at, AT_SEEN, AT_N)];
    cell->calls += at_part(at, AT_ENTRY, AT_ENTRY + 1);
    v->cell = cell;
    v->segment = s;
    v->plain = (uint8_t)at_part(at, AT_PLAIN, AT_PLAIN + 4);
}

/* The same in mode "block", in which what is plain has been charged when it began; so must this be. */
static inline __attribute__((always_inline)) void plain_begins_block(struct vcpu *v, uint64_t at)
{
    const struct segment *s = at_segment(at);
    uint64_t n = at_part(at, AT_N, AT_END);
    if (unlikely(v->plain != at_part(at, AT_FOLLOWS, AT_ENTRY))) {
        segment_begins(v, s);
        return;
    }
    struct cell *cell = &v->row[at_part(at, AT_SEEN, AT_N)];
    cell->raw += n;
    cell->calls += at_part(at, AT_ENTRY, AT_ENTRY + 1);
    v->cell = cell;
    v->segment = s;
    v->last = v->c->raw += n;
}

/* A REP instruction that is a block of its own: mostly nothing has happened but one more iteration. */
static inline __attribute__((always_inline)) void rep_begins(struct vcpu *v, uint64_t at)
{
    const struct segment *s = at_segment(at);
    if (v->segment != s || v->rep_pc != s->pc || s->costly || v->pending) {
        segment_begins(v, s);
        return;
    }
    struct cell *cell = v->cell;
    uint64_t raw = v->c->raw;
    cell->raw += raw - v->last;
    struct cell_rep *rep = rep_of(cell);
    rep->iterations++;
    rep->bytes += s->rep_size;
    v->rep_total++;
    v->repeat_at = v->last = raw;
    if (!exact)
        v->c->raw++;
}

/*
 * With -icount QEMU leaves a block at an access to a device, does that alone, and goes on behind it with another block.
 * Of a segment that has been counted whole, what comes behind is counted there.
 */
static void ends_at(struct vcpu *v, uint64_t pc)
{
    const struct segment *s = v->segment;
    for (unsigned i = 0; s->addresses && i < s->n; i++) {
        if (s->addresses[i] != pc)
            continue;
        unsigned rest = s->n - 1 - i;
        if (v->last == v->c->raw) { /* charged at once */
            v->cell->raw -= rest;
            v->last -= rest;
        }
        v->c->raw -= rest;
        return;
    }
}

void on_device(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *pc)
{
    struct vcpu *v = &vcpus[vcpu];
    const struct qemu_plugin_hwaddr *where = qemu_plugin_get_hwaddr(info, vaddr);
    if (!where || !qemu_plugin_hwaddr_is_io(where))
        return;
    costly_change(vcpu, v->cell, COSTLY_MMIO, 1);
    if (!exact && !several())
        ends_at(v, (uintptr_t)pc);
}

/* One vCPU: where it is kept is no question then. */
static void on_begin(unsigned vcpu, void *at)
{
    (void)vcpu;
    plain_begins(vcpus, (uintptr_t)at, false);
}

static void on_begin_stacks(unsigned vcpu, void *at)
{
    (void)vcpu;
    plain_begins(vcpus, (uintptr_t)at, true);
}

static void on_begin_block(unsigned vcpu, void *at)
{
    (void)vcpu;
    plain_begins_block(vcpus, (uintptr_t)at);
}

static void on_rep(unsigned vcpu, void *at)
{
    (void)vcpu;
    rep_begins(vcpus, (uintptr_t)at);
}

/* Several: the other ones do something, too, that matters here. */
static void on_segment(unsigned vcpu, void *at)
{
    struct vcpu *v = &vcpus[vcpu];
    const struct segment *s = at_segment((uintptr_t)at);
    if (unlikely(phases_behind(v)))
        phases_catch_up(v);
    if (s->begins_with_rep)
        rep_begins(v, (uintptr_t)at);
    else if (exact)
        plain_begins(v, (uintptr_t)at, false);
    else
        plain_begins_block(v, (uintptr_t)at);
    if (unlikely(s->tail == INSN_HLT))
        v->halted_at = clock_host();
}

wl_exec_cb callback_of(struct segment *s, bool begins_with_rep)
{
    s->begins_with_rep = begins_with_rep;
    if (several())
        return on_segment;
    return begins_with_rep ? on_rep : stacks ? on_begin_stacks : exact ? on_begin : on_begin_block;
}
