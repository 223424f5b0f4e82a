/* SPDX-License-Identifier: GPL-2.0-or-later */
/* System calls, exceptions, interrupts: what changes what a thread is doing. */
#include "packets.h"
#include "results.h"
#include "state.h"
#include "switches.h"

static void pending_becomes(struct vcpu *v, uint16_t operation)
{
    struct cell *from = row_for(v, v->thread->role, OP_PENDING), *to = row_for(v, v->thread->role, operation);
    if (v->n_touched > sizeof v->touched / sizeof *v->touched) {
        ledger_move(v->number, from, to, stacks ? n_nodes : functions_seen());
    } else {
        for (uint32_t i = 0; i < v->n_touched; i++)
            ledger_move_cell(v->number, &from[v->touched[i]], &to[v->touched[i]]);
    }
    v->n_touched = 0;
}

void pending_ends(struct vcpu *v)
{
    const struct thread *t = v->thread;
    if (t->in_syscall && !t->op && !t->syscall_op)
        pending_becomes(v, OP_SYSCALL);
}

/*
 * An exception or interrupt has come behind segment `before`.  Where the app calls the kernel without a system call,
 * what happens in an operation's code is the operation's, as it is in a system call.
 */
static void push_frame(struct vcpu *v, enum frame_kind kind, const struct hook *hook, const struct segment *before)
{
    struct thread *t = v->thread;
    if (t->n_frames == FRAMES) {
        TROUBLE(frames);
        return;
    }
    bool in_call = t->op && before->class == CLASS_KERNEL && !changes_thread(before);
    uint8_t how = kind == FRAME_IRQ ? (uint8_t)hook->disp : HOW_NONE;
    struct frame f = {(uint8_t)kind, how, in_user_mode(t) && !in_call, hook->name, v->rep_pc, v->retry, v->number};
    v->retry = (struct retry){0};
    work_done(v);
    t->frames[t->n_frames++] = f;
    put(v, kind == FRAME_IRQ ? EV_IRQ_ENTER : EV_FAULT_ENTER, HOW_NONE, hook->name, 0);
}

/* An instruction, of a class of costly ones or not, was counted that did not execute. */
static void take_back(struct vcpu *v, struct cell *cell, uint8_t costly)
{
    v->c->raw--;
    v->last--;
    cell->raw--;
    if (costly)
        costly_change(v->number, cell, costly, -1);
}

/*
 * Whether the IRET that has just executed goes to what lies behind it, `s` or what `s` interrupts.  So Linux serializes
 * the processor (sync_core(), after the kernel's text was changed, in the interrupt that asks other vCPUs for it, too);
 * nothing returns so.
 */
static bool goes_on_behind(const struct vcpu *v, const struct segment *s)
{
    enum { IRETQ_BYTES = 2 };
    return goes_on_at(v, v->segment->last_pc + IRETQ_BYTES, s);
}

/* Whether an IRET that `s` follows left the kernel. */
static bool left_kernel(const struct segment *s)
{
    return s->class != CLASS_KERNEL || (s->hook && entered_by_interrupt(s->hook));
}

static void return_from_frame(struct vcpu *v, const struct segment *s)
{
    struct thread *t = v->thread;
    if (goes_on_behind(v, s))
        return;
    if (t->n_frames) {
        struct frame f = t->frames[t->n_frames - 1];
        /* Where the app may call the kernel, it may have been interrupted in there. */
        if (f.from_user && !config.shared && !left_kernel(s))
            return;
        work_done(v);
        t->n_frames--;
        if (stacks)
            stacks_leave(v);
        v->rep_pc = f.rep_pc;
        if (f.retry.cell && f.retry.pc == s->pc && f.retry.phase == v->phase && f.vcpu == v->number)
            take_back(v, f.retry.cell, f.retry.costly);
        put(v, f.kind == FRAME_IRQ ? EV_IRQ_EXIT : EV_FAULT_EXIT, (enum event_how)f.how, f.name, 0);
    } else if (t->in_syscall && left_kernel(s)) {
        syscall_left(v, INSN_IRET, s);
    }
}

/* After a HLT, `s`: how far did virtual time jump, or how long did the host wait? */
static void idle_ended(struct vcpu *v, const struct segment *s)
{
    bool perhaps = several() && !v->segment->n; /* so it was when the probe was armed: see probe.c, on_reset() */
    if (perhaps && !(s->hook && entered_by_interrupt(s->hook)))
        return;
    if (!perhaps)
        v->thread->role = ROLE_IDLE;
    if (!several() && !clock_known())
        return;
    int64_t idle;
    if (several()) {
        uint64_t now = clock_host();
        idle = (int64_t)(now - v->halted_at); /* what was before a mark is charged: see phases.c */
        put_at(v, v->halted_at, EV_IDLE_BEGIN, HOW_NONE, NAME_NONE, 0);
        v->halted_at = now;
    } else {
        put(v, EV_IDLE_BEGIN, HOW_NONE, NAME_NONE, 0);
        idle = clock_read() - v->clock_zero - (int64_t)time_now(v);
    }
    if (idle < 0) /* raw is ahead: blocks counted whole.  The next idle is the shorter for it; time never goes back */
        idle = 0;
    v->idle_total += (uint64_t)idle;
    v->idle_uncharged += (uint64_t)idle;
    put(v, EV_IDLE_END, HOW_NONE, NAME_NONE, idle);
}

/* The block before ended in an instruction that changes what the thread is doing; `s` follows it. */
void finish_tail(struct vcpu *v, uint8_t tail, const struct segment *s)
{
    if (tail == INSN_MARKER) /* the first instrumented block: instructions and clock start together */
        v->clock_zero = clock_read();
    else if (tail == INSN_IRET)
        return_from_frame(v, s);
    else if (tail == INSN_HLT)
        idle_ended(v, s);
    else if (v->thread->in_syscall)
        syscall_left(v, tail, s);
    set_row(v);
}

/*
 * An exception that restarts its instruction has come in segment `before`, of which `did` instructions were counted:
 * the one that faulted was, when it was attempted, and will be again.  Take it back, at once if it is sure to be one
 * of them.  If all of the segment's were counted, the fault may also have been the fetch's of what follows (user code
 * is paged): it was, if the kernel had just returned there; else where execution is taken up again tells, see
 * return_from_frame().  A kernel's code that is followed by its own is not paged.
 */
void faulted(struct vcpu *v, const struct segment *before, uint64_t began, uint64_t did, struct cell *cell)
{
    v->retry = (struct retry){0};
    if (!exact || did == 0)
        return;
    bool repeated = repeats(v, before, began);
    uint8_t costly = before->costly && !repeated ? v->last_costly : COSTLY_NONE;
    if (before->rep_pc && did == before->n) {
        take_back(v, cell, costly);
        v->rep_pc = repeated ? before->pc : 0;
        if (repeated) {
            rep_of(cell)->iterations--;
            rep_of(cell)->bytes -= before->rep_size;
            v->rep_total--;
        }
    } else if (did + before->doubtful < before->n ||
               (before->class == CLASS_KERNEL && !changes_thread(before) && !config.shared)) {
        take_back(v, cell, costly);
    } else if (!changes_thread(before)) {
        v->retry = (struct retry){did == before->n ? before->last_pc : before->before_last_pc, cell, v->phase, costly};
    }
}

/* The interrupt was a timer's, whatever line it came by. */
static void is_timer(struct vcpu *v)
{
    struct thread *t = v->thread;
    v->idle_by_device = false;
    for (int i = t->n_frames - 1; i >= 0; i--)
        if (t->frames[i].kind == FRAME_IRQ) {
            t->frames[i].how = HOW_TIMER;
            break;
        }
}

void at_hook(struct vcpu *v, const struct segment *s, const struct segment *before)
{
    struct thread *t = v->thread;
    struct hook *h = s->hook;
    if (h->kind == HOOK_OP) /* of the kernel's: see called_kernel() */
        return;
    h->fired[v->number]++;
    switch (h->kind) {
    case HOOK_SYSCALL:
        syscall_entered(v, h, before);
        break;
    case HOOK_HANDLER:
        if (!t->in_syscall)
            break; /* another handler's helper */
        if (!t->syscall)
            syscall_handled(v, h);
        if (!t->op && !t->syscall_op) {
            pending_becomes(v, h->name);
            t->syscall_op = h->name;
        }
        break;
    case HOOK_FAULT:
    case HOOK_TRAP:
        push_frame(v, FRAME_EXCEPTION, h, before);
        break;
    case HOOK_DEVICE:
        v->idle_by_device = v->idle_uncharged != 0;
        push_frame(v, FRAME_IRQ, h, before);
        break;
    case HOOK_IRQ:
        push_frame(v, FRAME_IRQ, h, before);
        break;
    case HOOK_TIMER:
        is_timer(v);
        return;
    case HOOK_LOCK:
    case HOOK_LOCK_ENTRY:
    case HOOK_LOCK_WAIT:
    case HOOK_LOCK_END:
        lock_hook(v, h);
        return;
    case HOOK_PACKET:
        packet_hook(v, h);
        return;
    case HOOK_STOP_BEFORE:
    case HOOK_STOP_ENTRY:
    case HOOK_STOP_INSIDE:
        may_stop(v, h);
        return;
    default:
        return;
    }
    set_row(v);
}
