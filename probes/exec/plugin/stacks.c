/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest.h"
#include "state.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define MOST_CALLS (1u << 20) /* return addresses of one thread */
#define SYSCALL_SIZE 2 /* SYSCALL, INT and SYSENTER */
#define NO_FUNCTION 0xffffffffu

bool stacks;
struct node *nodes;
uint32_t n_nodes;
struct stacks_seen stacks_seen;

/* ---- the tree ---- */

enum { ROOT, LOST_STACK }; /* LOST_STACK: the caller of all functions whose own node found no room */

static uint16_t *depths;
static uint32_t *slots, n_slots; /* a hash table of nodes by (parent, function); 0 is empty, as the root is nobody's */

static void *reserve(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

static uint32_t slot_of(uint32_t parent, uint32_t function)
{
    return (uint32_t)((((uint64_t)parent << 16 ^ function) * 0x9e3779b97f4a7c15u) >> 32) & (n_slots - 1);
}

static void slots_put(uint32_t node)
{
    uint32_t i = slot_of(nodes[node].parent, nodes[node].function);
    while (slots[i])
        i = (i + 1) & (n_slots - 1);
    slots[i] = node;
}

static bool slots_grow(void)
{
    uint32_t *more = calloc(n_slots * 2ull, sizeof *more);
    if (!more)
        return false;
    free(slots);
    slots = more;
    n_slots *= 2;
    for (uint32_t i = LOST_STACK + 1; i < n_nodes; i++)
        slots_put(i);
    return true;
}

static uint32_t node_new(uint32_t parent, uint32_t function)
{
    nodes[n_nodes] = (struct node){parent, function, 0, NO_FUNCTION};
    depths[n_nodes] = (uint16_t)(n_nodes ? depths[parent] + 1 : 0);
    return n_nodes++;
}

bool stacks_init(void)
{
    nodes = reserve(NODES * sizeof *nodes);
    depths = reserve(NODES * sizeof *depths);
    n_slots = 1u << 16;
    slots = calloc(n_slots, sizeof *slots);
    if (!nodes || !depths || !slots)
        return false;
    n_nodes = 0;
    node_new(ROOT, SEEN_UNKNOWN);
    node_new(ROOT, SEEN_UNKNOWN);
    return true;
}

uint32_t stacks_child_slow(uint32_t parent, uint32_t function)
{
    if (depths[parent] >= NODE_DEPTH) {
        stacks_seen.deep++;
        parent = nodes[parent].parent;
    }
    for (;;) {
        uint32_t i = slot_of(parent, function);
        while (slots[i] && (nodes[slots[i]].parent != parent || nodes[slots[i]].function != function))
            i = (i + 1) & (n_slots - 1);
        uint32_t node = slots[i];
        if (!node && n_nodes >= NODES - LEDGER_FUNCTIONS && parent != LOST_STACK) {
            stacks_seen.full++;
            parent = LOST_STACK;
            continue;
        }
        if (!node) {
            if (n_nodes >= n_slots / 2 && !slots_grow() && n_nodes >= n_slots - 1)
                abort();
            node = node_new(parent, function);
            slots_put(node);
        }
        nodes[parent].last = node;
        nodes[parent].last_function = function;
        return node;
    }
}

bool stacks_write(FILE *f, const int32_t *function_of)
{
    for (uint32_t i = 0; i < n_nodes; i++) {
        int32_t node[2] = {(int32_t)nodes[i].parent, function_of[nodes[i].function]};
        if (fwrite(node, sizeof node, 1, f) != 1)
            return false;
    }
    return true;
}

/* ---- marks: where the kernel was entered, or a signal's handler ---- */

/* What was interrupted, and whether all of it had executed; in bits that no canonical address has. */
#define MARK (1ull << 56)
#define MARK_SIGNAL (1ull << 57)
#define MARK_CALL (1ull << 58)
#define MARK_WHOLE 1ull

static bool is_mark(const struct call *c)
{
    return c->ret >> 47 != 0 && c->ret >> 47 != 0x1ffff;
}

static bool is_gate(const struct call *c)
{
    return is_mark(c) && !(c->ret & MARK_SIGNAL);
}

static uint64_t mark_of(const struct segment *before, bool whole)
{
    return MARK | (uint64_t)(uintptr_t)before | (whole ? MARK_WHOLE : 0);
}

static void resume(struct vcpu *v, const struct call *mark)
{
    v->resumed = (const struct segment *)(uintptr_t)(mark->ret & ~(MARK | MARK_SIGNAL | MARK_CALL | MARK_WHOLE));
    v->resumed_whole = mark->ret & MARK_WHOLE;
    v->resumed_call = mark->ret & MARK_CALL;
}

/* ---- one stack ---- */

bool stacks_grow(struct stack *st)
{
    size_t n = st->calls ? (size_t)(st->end - st->calls) : 0, used = st->calls ? (size_t)(st->top - st->calls) : 0;
    size_t more = n ? n * 2 : 64;
    struct call *calls = more <= MOST_CALLS ? realloc(st->calls, more * sizeof *calls) : NULL;
    if (!calls)
        return false;
    st->calls = calls;
    st->top = calls + used;
    st->end = calls + more;
    return true;
}

static void replace(struct vcpu *v, uint32_t function)
{
    struct call *top = v->stack->top;
    top->node = stacks_child(nodes[top->node].parent, function);
    top->function = function;
    v->node = top->node;
}

static void push(struct vcpu *v, uint64_t ret, uint32_t parent, uint32_t function)
{
    struct stack *st = v->stack;
    if (st->top + 1 == st->end && !stacks_grow(st)) {
        stacks_seen.full++;
        replace(v, function);
        return;
    }
    *++st->top = (struct call){ret, stacks_child(parent, function), function};
    v->node = st->top->node;
}

/* Nothing is known of its callers. */
static void begin_at(struct vcpu *v, uint32_t function)
{
    struct stack *st = v->stack;
    if (!st->calls && !stacks_grow(st))
        abort();
    st->top = st->calls;
    *st->top = (struct call){0, stacks_child(ROOT, function), function};
    v->node = st->top->node;
}

static void pop_to(struct vcpu *v, struct call *top)
{
    v->stack->top = top;
    v->node = top->node;
}

#define SCANNED 65536u /* words of a stack */

/*
 * Which of the calls from `bottom` on still have their return address on the guest's stack: the last of those that are
 * there in order.  To be asked in the first segment of a block, where QEMU has RSP; `top` if that cannot be read.
 */
static struct call *last_alive(unsigned vcpu, struct call *bottom, struct call *top)
{
    static uint64_t words[SCANNED];
    const size_t page = 512;
    uint64_t rsp;
    size_t n = 0;
    if (!guest_register(vcpu, REG_RSP, &rsp))
        return top;
    for (size_t more; n + page <= SCANNED; n += more) {
        more = page - ((rsp / sizeof *words + n) & (page - 1));
        if (!guest_memory(vcpu, rsp + n * sizeof *words, &words[n], more * sizeof *words))
            break;
    }
    while (n-- && bottom < top)
        bottom += words[n] == bottom[1].ret;
    return bottom;
}

/* The call of a function that is gone back to, below the top; none beyond where the kernel was entered. */
static struct call *caller_in(const struct vcpu *v, uint32_t function)
{
    const struct stack *st = v->stack;
    struct call *found = NULL, *c = st->top;
    size_t n = 0;
    for (; c > st->calls && !is_gate(c); c--)
        if (c[-1].function == function) {
            found = found ? found : c - 1;
            n++;
        }
    if (n < 2)
        return found;
    struct call *alive = last_alive(v->number, c, found);
    while (alive > c && alive->function != function)
        alive--;
    return alive->function == function ? alive : found;
}

/* Whether the kernel was entered since the bottom. */
static bool gate_in(const struct stack *st)
{
    const struct call *c = st->top;
    while (c > st->calls && !is_gate(c))
        c--;
    return c > st->calls;
}

static void returned(struct vcpu *v, const struct segment *s)
{
    struct stack *st = v->stack;
    for (struct call *c = st->top; c > st->calls && !is_gate(c); c--) {
        if (c->ret != s->pc)
            continue;
        if (c != st->top)
            stacks_seen.unwound++;
        pop_to(v, c - 1);
        if (v->stack->top->function != s->seen)
            replace(v, s->seen); /* called by the last instruction of another symbol's */
        return;
    }
    if (s->seen == st->top->function) /* from a subroutine inside one function */
        return;
    if (s->entry) { /* a jump to what was put on the stack: retpolines, the first switch to a thread */
        replace(v, s->seen);
        return;
    }
    struct call *caller = caller_in(v, s->seen);
    if (caller) { /* the way an exception's unwinding ends */
        stacks_seen.unwound++;
        pop_to(v, caller);
    } else if (st->top == st->calls || (!st->bottom_known && s->class == CLASS_KERNEL && !gate_in(st))) {
        stacks_seen.opened++;
        begin_at(v, s->seen);
    } else {
        stacks_seen.resync++;
        replace(v, s->seen);
    }
}

static void jumped(struct vcpu *v, const struct segment *before, const struct segment *s)
{
    if (s->seen == v->stack->top->function)
        return;
    struct call *caller = before->leaves == LEAVES_JUMP && !s->entry ? caller_in(v, s->seen) : NULL;
    if (caller) { /* longjmp */
        stacks_seen.unwound++;
        pop_to(v, caller);
        return;
    }
    if (before->leaves == LEAVES_JUMP && before->class == CLASS_KERNEL && s->class != CLASS_KERNEL) {
        begin_at(v, s->seen); /* OSv starts a thread of clone()'s where that returns */
        return;
    }
    if (before->leaves == LEAVES_JUMP && !s->entry && before->seen >= SEEN_FIRST && s->seen >= SEEN_FIRST)
        stacks_seen.resync++;
    replace(v, s->seen); /* a tail call, or another part of the same code */
}

static void stepped(struct vcpu *v, const struct segment *before, const struct segment *s, bool whole)
{
    if (whole && before->leaves == LEAVES_CALL) {
        /* A call inside one function reads its own address, or fills the return predictor: it may never return. */
        if (s->called || (s->seen != before->seen && !s->entry))
            push(v, before->ret, v->node, s->seen);
        else if (s->seen != v->stack->top->function)
            replace(v, s->seen);
    } else if (whole && before->leaves == LEAVES_RET) {
        returned(v, s);
    } else {
        jumped(v, before, s);
    }
}

/* The kernel has gone back to where it had been entered. */
static void went_back(struct vcpu *v, const struct segment *s)
{
    struct stack *st = v->stack;
    const struct segment *before = v->resumed;
    bool whole = v->resumed_whole, call = v->resumed_call, user = s->class != CLASS_KERNEL;
    v->resumed = NULL;
    if (!before) {
        if (user)
            begin_at(v, s->seen); /* a new thread's first user code */
        else
            replace(v, s->seen); /* IRET only to serialize the processor */
        return;
    }
    if (user && st->signals) {
        for (; st->signals; st->signals--)
            push(v, mark_of(before, whole) | MARK_SIGNAL, v->node, s->seen);
        return;
    }
    if (user && st->signal_returns) {
        struct call *c = st->top;
        while (c > st->calls && !is_mark(c))
            c--;
        if (c > st->calls) {
            resume(v, c);
            before = v->resumed;
            whole = v->resumed_whole;
            call = v->resumed_call;
            v->resumed = NULL;
            pop_to(v, c - 1);
        }
    }
    st->signal_returns = false;
    if (user && call && s->pc != before->last_pc && s->pc != before->last_pc + SYSCALL_SIZE)
        begin_at(v, s->seen); /* another program */
    else if (s->pc == before->last_pc) /* it did not execute; now it will */
        jumped(v, &(struct segment){.seen = before->seen}, s);
    else
        stepped(v, before, s, whole);
}

void stacks_step_slow(struct vcpu *v, const struct segment *before, const struct segment *s, bool whole)
{
    if (whole && before->leaves == LEAVES_MODE)
        went_back(v, s);
    else
        stepped(v, before, s, whole && !(before->doubtful && s->pc == before->last_pc));
}

/* ---- into the kernel and back ---- */

void stacks_signal(struct thread *t)
{
    t->stack.signals++;
}

void stacks_signal_returns(struct thread *t)
{
    t->stack.signal_returns = true;
}

void stacks_enter(struct vcpu *v, const struct segment *before, const struct segment *s, bool whole)
{
    uint8_t kind = s->hook->kind;
    bool interrupt = kind == HOOK_IRQ || kind == HOOK_DEVICE;
    if (v->resumed) { /* another interrupt, before anything of what was interrupted went on */
        before = v->resumed;
        whole = v->resumed_whole;
        v->resumed = NULL;
    }
    push(v, mark_of(before, whole) | (kind == HOOK_SYSCALL ? MARK_CALL : 0), interrupt ? ROOT : v->node, s->seen);
}

void stacks_leave(struct vcpu *v)
{
    struct stack *st = v->stack;
    struct call *c = st->top;
    while (c > st->calls && !is_gate(c))
        c--;
    if (c > st->calls) {
        resume(v, c);
        pop_to(v, c - 1);
    }
}

void stacks_lost(struct vcpu *v, const struct segment *s)
{
    struct stack *st = v->stack;
    for (struct call *c = st->top; c > st->calls; c--)
        if (is_gate(c))
            st->top = c - 1;
    v->resumed = NULL;
    pop_to(v, st->top);
    if (st->top->function != s->seen) {
        struct call *caller = caller_in(v, s->seen);
        if (caller)
            pop_to(v, caller);
        else
            replace(v, s->seen);
    }
}

void stacks_switch(struct vcpu *v)
{
    v->stack = &v->thread->stack;
    v->resumed = NULL;
    if (!v->stack->calls) {
        begin_at(v, v->segment->seen);
        return;
    }
    v->node = v->stack->top->node;
    if (v->stack->top->function != v->segment->seen)
        replace(v, v->segment->seen);
}

void stacks_new(struct thread *t)
{
    t->stack.bottom_known = true;
}

uint32_t stacks_pseudo(const struct thread *t, uint32_t function)
{
    return stacks_child(t->stack.calls ? t->stack.top->node : ROOT, function);
}

void stacks_forget(struct thread *t)
{
    free(t->stack.calls);
    t->stack = (struct stack){0};
}
