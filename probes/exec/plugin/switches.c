/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Why a thread stops is said by the way that it takes to the switch.  It enters the scheduler, which may come back without
 * a switch, so that what was said on the way in (HOOK_STOP_BEFORE) is for the very next entry, and what is said inside
 * (HOOK_STOP_INSIDE) is forgotten at the next.  An interrupt may come in between and enter the scheduler itself.
 */
#include "switches.h"

#include "names.h"
#include "packets.h"
#include "results.h"
#include "state.h"

void may_stop(struct vcpu *v, const struct hook *hook)
{
    struct thread *t = v->thread;
    bool announced = t->announced && t->announced_at == t->n_frames;
    switch (hook->kind) {
    case HOOK_STOP_BEFORE:
        t->announced = (uint8_t)hook->disp;
        t->announced_at = t->n_frames;
        break;
    case HOOK_STOP_ENTRY:
        t->stops = announced ? t->announced : (uint8_t)hook->disp;
        t->stops_as_announced = announced;
        if (announced)
            t->announced = HOW_NONE;
        break;
    case HOOK_STOP_INSIDE: /* whoever ends is taken off the queue as well, but that is not why */
        if (!t->stops_as_announced)
            t->stops = (uint8_t)hook->disp;
        break;
    }
}

uint16_t waker_name(const struct vcpu *v)
{
    const struct thread *t = v->thread;
    uint16_t operation = thread_operation(t);
    for (int i = t->n_frames - 1; operation == OP_INTERRUPT && i >= 0; i--)
        if (t->frames[i].kind == FRAME_IRQ)
            return t->frames[i].name;
    return operation == OP_PENDING ? OP_SYSCALL : operation;
}

/* Of several vCPUs, another one may be running it. */
static uint8_t state_of(const struct thread *t)
{
    return __atomic_load_n(&t->state, __ATOMIC_RELAXED);
}

static void set_state(struct thread *t, enum state state)
{
    __atomic_store_n(&t->state, (uint8_t)state, __ATOMIC_RELAXED);
}

/* The idle thread runs until another one can: it gives way by itself, whatever way it takes. */
static enum event_how stopped(struct thread *t)
{
    enum event_how how = t->role == ROLE_IDLE && t->stops ? HOW_YIELDED : (enum event_how)t->stops;
    t->stops = HOW_NONE;
    t->stops_as_announced = false;
    set_state(t, how == HOW_NONE ? STATE_UNKNOWN : how == HOW_BLOCKED ? STATE_ASLEEP : STATE_AWAKE);
    return how;
}

/* Someone makes thread `t` go on, or tries to. */
static void wake(struct vcpu *v, struct thread *t)
{
    static const uint8_t how[] = {[STATE_UNKNOWN] = HOW_NONE, [STATE_ASLEEP] = HOW_WOKEN, [STATE_AWAKE] = HOW_AWAKE};
    uint8_t state = state_of(t);
    put(v, EV_WAKE, (enum event_how)how[state], waker_name(v), t->index);
    if (state == STATE_ASLEEP)
        set_state(t, STATE_AWAKE);
}

/* The machine was idle until `t` could go on: the first that was woken, else the first that ran. */
static void charge_idle(struct vcpu *v, const struct thread *t)
{
    if (!v->idle_uncharged || t->role == ROLE_IDLE)
        return;
    struct cell *row = row_for(v, t->role, thread_operation(t));
    idle_of(&row[cell_of(t, v->idle_by_device ? SEEN_DEVICE_WAIT : SEEN_IDLE)])->ns += v->idle_uncharged;
    v->idle_uncharged = 0;
    v->idle_by_device = false;
}

/* The same, but another vCPU may be running it: of several, the first that runs here. */
static void charge_idle_to_woken(struct vcpu *v, const struct thread *t)
{
    if (!several())
        charge_idle(v, t);
}

/* A process of its own, unless it is a thread that one of the program's makes. */
static int32_t process_of_new(const struct thread *creator)
{
    const struct window *w = &config.window;
    static int32_t processes;
    if (!w->n_threads || creator->process < 0)
        return creator->process;
    for (size_t i = 0; i < w->n_threads; i++)
        if (creator->op == w->threads[i])
            return creator->process;
    return __atomic_add_fetch(&processes, 1, __ATOMIC_RELAXED);
}

/* What `t` does from now on is on behalf of who made it go on.  One hop: what a deferred thread wakes is background. */
static void on_behalf(struct vcpu *v, struct thread *t)
{
    uint16_t op = thread_operation(v->thread);
    threads_woken_by(t, op & OP_DEFERRED || op == OP_BACKGROUND || op == OP_PENDING ? 0 : op);
}

static void is_new(struct vcpu *v, uint64_t task)
{
    struct thread *t = v->thread, *other = threads_forget(task);
    if (other && other != t && threads_try(other, v->number))
        stacks_forget(other);
    other = threads_new(task, t->role == ROLE_MAIN ? ROLE_APP : t->role);
    other->process = process_of_new(t);
    other->creator = (int32_t)t->index;
    stacks_new(other);
    set_state(other, STATE_ASLEEP);
    threads_let_go(other); /* whoever runs it knows all that */
    on_behalf(v, other);
    put(v, EV_THREAD_NEW, HOW_NONE, NAME_NONE, other->index);
    charge_idle_to_woken(v, other);
}

static void stops(struct vcpu *v, uint64_t task)
{
    struct thread *t = v->thread;
    if (!t->task)
        threads_name(t, task);
    else if (t->task != task) {
        TROUBLE(switches);
        work_done(v);
        threads_let_go(t);
        v->thread = threads_find(task);
        threads_take(v->thread, v->number);
        if (stacks) {
            stacks_switch(v);
            v->cell = &v->row[cell_here(v)];
        }
    }
}

static void goes_on(struct vcpu *v, struct thread *other)
{
    struct thread *t = v->thread;
    if (other == t)
        return;
    enum event_how how = stopped(t);
    if (how == HOW_EXITED)
        put(v, EV_THREAD_EXIT, HOW_NONE, NAME_NONE, 0);
    bool taken = threads_try(other, v->number); /* then no other vCPU has it any more, nor had it after this event */
    put(v, EV_SWITCH, how, NAME_NONE, other->index);
    name_stops(v->number, t, how == HOW_EXITED);
    t->waits.stopped += how != HOW_PREEMPTED; /* whoever waits for a lock and is made to stop still spins */
    charge(v);
    pending_ends(v); /* another thread's, or another phase's, must not be taken for it */
    work_done(v);
    threads_let_go(t);
    if (!taken && !threads_take(other, v->number))
        TROUBLE(switches);
    v->thread = other;
    set_state(other, STATE_AWAKE);
    name_starts(v->number, other);
    if (stacks)
        stacks_switch(v);
    set_row(v);
    charge_idle(v, other);
}

void on_access(unsigned vcpu, uint32_t info, uint64_t vaddr, void *udata)
{
    struct vcpu *v = &vcpus[vcpu];
    (void)info;
    struct hook *h = udata;
    uint64_t task = vaddr - (uint64_t)h->disp;
    struct thread *other;
    h->fired[v->number]++;
    switch (h->kind) {
    case HOOK_SWITCH_OUT:
        stops(v, task);
        break;
    case HOOK_SWITCH_IN:
        goes_on(v, threads_find(task));
        break;
    case HOOK_WAKE:
        other = threads_find(task);
        on_behalf(v, other);
        wake(v, other);
        charge_idle_to_woken(v, other);
        break;
    case HOOK_NEW:
        is_new(v, task);
        break;
    case HOOK_PACKET_READ:
        packet_read(v, h, vaddr);
        break;
    case HOOK_READY: /* the kernel has more ways than HOOK_WAKE to make a thread go on */
        other = threads_find(task);
        if (state_of(other) == STATE_ASLEEP)
            wake(v, other);
        break;
    }
}
