/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A call's result is in RAX when whoever called goes on: at the first instruction behind a RET, SYSRET or IRET, where
 * registers can be read.  That it does go on there is held against what was known when it called, because there are
 * other ways back: a signal handler, a callback, longjmp(), a call that is restarted, execve().  Of those nothing is said.
 */
#include "results.h"

#include "guest.h"
#include "state.h"

enum { SYSCALL_BYTES = 2, WORD = 8, CARRY = 1 };

static bool in_interrupt(const struct thread *t)
{
    for (int i = 0; i < t->n_frames; i++)
        if (t->frames[i].kind == FRAME_IRQ)
            return true;
    return false;
}

uint64_t work_done(struct vcpu *v)
{
    uint64_t now = v->c->raw - v->rep_total;
    if (!in_interrupt(v->thread))
        v->thread->work += now - v->work_from;
    v->work_from = now;
    return v->thread->work;
}

static enum event_how verdict(enum result result, uint64_t rax, uint64_t flags)
{
    bool failed = false;
    switch (result) {
    case RESULT_INT:
        failed = (uint32_t)rax == UINT32_MAX;
        break;
    case RESULT_LONG:
        failed = rax == UINT64_MAX;
        break;
    case RESULT_POINTER:
        failed = !rax;
        break;
    case RESULT_ERROR:
        failed = (uint32_t)rax;
        break;
    case RESULT_NEGATIVE:
        failed = rax >= (uint64_t)-4095;
        break;
    case RESULT_CARRY:
        failed = flags & CARRY;
        break;
    default:
        return HOW_NONE;
    }
    return failed ? HOW_FAILED : HOW_OK;
}

void operation_entered(struct vcpu *v, const struct hook *hook)
{
    struct thread *t = v->thread;
    t->op = hook->name;
    t->op_began = work_done(v);
    t->op_result = (uint8_t)hook->disp;
    if (!t->op_result || !guest_register(v->number, REG_RSP, &t->op_stack))
        t->op_stack = 0;
    put(v, EV_OP_ENTER, HOW_NONE, t->op, 0);
}

void operation_left(struct vcpu *v)
{
    struct thread *t = v->thread;
    uint64_t stack, rax;
    enum event_how how = HOW_NONE;
    /* RET has taken the return address off the stack; a handler or callback has the stack below it */
    if (t->op_stack && guest_register(v->number, REG_RSP, &stack) && stack == t->op_stack + WORD && guest_register(v->number, REG_RAX, &rax))
        how = verdict(t->op_result, rax, 0);
    put(v, EV_OP_EXIT, how, t->op, (int64_t)(work_done(v) - t->op_began));
    t->op = 0;
}

void syscall_entered(struct vcpu *v, const struct hook *hook, const struct segment *before)
{
    struct thread *t = v->thread;
    t->in_syscall = true;
    t->syscall_result = (uint8_t)hook->disp;
    t->syscall_began = work_done(v);
    t->syscall_return = before->last_pc + SYSCALL_BYTES;
}

void syscall_handled(struct vcpu *v, const struct hook *hook)
{
    struct thread *t = v->thread;
    t->syscall = hook->name;
    t->syscall_result = (uint8_t)hook->disp;
    put(v, EV_SYSCALL_ENTER, HOW_NONE, t->syscall, 0);
}

bool goes_on_at(const struct vcpu *v, uint64_t address, const struct segment *s)
{
    uint64_t stack, words[2]; /* the return address, or an error code and that */
    if (!s->hook || !entered_by_interrupt(s->hook))
        return s->pc == address;
    return guest_register(v->number, REG_RSP, &stack) && guest_memory(v->number, stack, words, sizeof words) &&
           (words[0] == address || words[1] == address);
}

static enum event_how syscall_result(const struct vcpu *v, uint8_t tail, const struct segment *s)
{
    const struct thread *t = v->thread;
    uint64_t rax, flags = 0;
    if (!t->syscall_result || !goes_on_at(v, t->syscall_return, s) || !guest_register(v->number, REG_RAX, &rax))
        return HOW_NONE;
    /* SYSRET takes the flags from R11, which is the cheaper place; an interrupt's entry has not changed them */
    if (t->syscall_result == RESULT_CARRY &&
        !(tail == INSN_SYSRET ? guest_register(v->number, REG_R11, &flags) : guest_flags(v->number, &flags)))
        return HOW_NONE;
    return verdict(t->syscall_result, rax, flags);
}

void syscall_left(struct vcpu *v, uint8_t tail, const struct segment *s)
{
    struct thread *t = v->thread;
    pending_ends(v);
    locks_left(v);
    if (!t->syscall) { /* there is no such call: no handler said so at its entry */
        t->syscall = OP_SYSCALL;
        put(v, EV_SYSCALL_ENTER, HOW_NONE, OP_SYSCALL, 0);
    }
    put(v, EV_SYSCALL_EXIT, syscall_result(v, tail, s), t->syscall, (int64_t)(work_done(v) - t->syscall_began));
    t->in_syscall = false;
    t->syscall_op = t->syscall = 0;
    if (stacks)
        stacks_leave(v);
}
