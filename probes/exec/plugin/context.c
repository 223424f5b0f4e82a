/* SPDX-License-Identifier: GPL-2.0-or-later */
/* System calls, exceptions, interrupts: what changes what a thread is doing. */
#include "state.h"

static void pending_becomes(uint16_t operation)
{
    struct cell *from = row_for(now.thread->role, OP_PENDING);
    ledger_move(from, row_for(now.thread->role, operation), n_seen);
}

void pending_ends(void)
{
    const struct thread *t = now.thread;
    if (t->in_syscall && !t->op && !t->syscall_op)
        pending_becomes(OP_SYSCALL);
}

static void leave_syscall(void)
{
    struct thread *t = now.thread;
    pending_ends();
    if (t->syscall) /* else there is no such call, and nothing was said of its entry */
        put(EV_SYSCALL_EXIT, t->syscall, 0);
    t->in_syscall = false;
    t->syscall_op = t->syscall = 0;
}

bool in_user_mode(const struct thread *t)
{
    return t->user && !t->in_syscall && !t->n_frames;
}

/*
 * An exception or interrupt has come behind segment `before`.  Where the app calls the kernel without a system call,
 * what happens in an operation's code is the operation's, as it is in a system call.
 */
static void push_frame(enum frame_kind kind, const struct hook *hook, const struct segment *before)
{
    struct thread *t = now.thread;
    if (t->n_frames == FRAMES) {
        trouble.frames++;
        return;
    }
    bool in_call = t->op && before->class == CLASS_KERNEL && !changes_thread(before);
    struct frame f = {(uint8_t)kind, in_user_mode(t) && !in_call, hook->name, now.rep_pc, now.retry};
    now.retry = (struct retry){0};
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

/*
 * Whether an IRET that `s` follows left the kernel.  Linux also executes IRET to stay where it is: it serializes the
 * processor (sync_core(), after the kernel's text was changed).
 */
static bool left_kernel(const struct segment *s)
{
    return s->class != CLASS_KERNEL || (s->hook && entered_by_interrupt(s->hook));
}

static void return_from_frame(const struct segment *s)
{
    struct thread *t = now.thread;
    if (t->n_frames) {
        struct frame f = t->frames[t->n_frames - 1];
        /* Where the app may call the kernel, it may have been interrupted in there. */
        if (f.from_user && !config.shared && !left_kernel(s))
            return;
        t->n_frames--;
        now.rep_pc = f.rep_pc;
        if (f.retry.cell && f.retry.pc == s->pc && f.retry.phase == now.phase)
            take_back(f.retry.cell);
        put(f.kind == FRAME_IRQ ? EV_IRQ_EXIT : EV_FAULT_EXIT, f.name, 0);
    } else if (t->in_syscall && left_kernel(s)) {
        leave_syscall();
    }
}

/* After a HLT: how far did virtual time jump? */
static void idle_ended(void)
{
    now.thread->role = ROLE_IDLE;
    if (!clock_known())
        return;
    put(EV_IDLE_BEGIN, NAME_NONE, 0);
    int64_t idle = clock_read() - now.clock_zero - (int64_t)time_now();
    if (idle < 0) /* raw is ahead: blocks counted whole.  The next idle is the shorter for it; time never goes back */
        idle = 0;
    now.idle_total += (uint64_t)idle;
    now.idle_uncharged += (uint64_t)idle;
    put(EV_IDLE_END, NAME_NONE, idle);
}

/* The block before ended in an instruction that changes what the thread is doing; `s` follows it. */
void finish_tail(uint8_t tail, const struct segment *s)
{
    if (tail == INSN_MARKER) /* the first instrumented block: instructions and clock start together */
        now.clock_zero = clock_read();
    else if (tail == INSN_IRET)
        return_from_frame(s);
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
 * return_from_frame().  A kernel's code that is followed by its own is not paged.
 */
void faulted(const struct segment *before, uint64_t began, uint64_t did, struct cell *cell)
{
    now.retry = (struct retry){0};
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
    } else if (did + before->doubtful < before->n ||
               (before->class == CLASS_KERNEL && !changes_thread(before) && !config.shared)) {
        take_back(cell);
    } else if (!changes_thread(before)) {
        now.retry = (struct retry){did == before->n ? before->last_pc : before->before_last_pc, cell, now.phase};
    }
}

/* A thread that is woken without getting the lock waits again: that is still one wait. */
static bool waits_anew(struct thread *t, const struct hook *h)
{
    uint64_t bit = h->disp ? 1ull << (h->disp - 1) : 0;
    bool waited = t->waited & bit;
    t->waited |= bit;
    return !waited;
}

void at_hook(const struct segment *s, const struct segment *before)
{
    struct thread *t = now.thread;
    struct hook *h = s->hook;
    if (h->kind == HOOK_OP) /* of the kernel's: see called_kernel() */
        return;
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
        push_frame(FRAME_EXCEPTION, h, before);
        break;
    case HOOK_DEVICE:
        now.idle_by_device = now.idle_uncharged != 0;
        push_frame(FRAME_IRQ, h, before);
        break;
    case HOOK_IRQ:
        push_frame(FRAME_IRQ, h, before);
        break;
    case HOOK_TIMER: /* the interrupt was a timer's, whatever line it came by */
        now.idle_by_device = false;
        return;
    case HOOK_LOCK:
        if (waits_anew(t, h))
            put(EV_LOCK, h->name, 0);
        return;
    case HOOK_LOCK_ENTRY:
        t->waited &= ~(1ull << (h->disp - 1));
        return;
    default:
        return;
    }
    set_row();
}
