/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Threads as the guest's kernel knows them: what each is in the middle of. */
#ifndef WL_THREADS_H
#define WL_THREADS_H

#include "locks.h"
#include "stacks.h"

#include <stdbool.h>
#include <stdint.h>

struct cell;

/* Names 0-5 are the same in probes/exec/configure.py. */
enum { NAME_NONE, OP_USER, OP_INTERRUPT, OP_BACKGROUND, OP_PENDING, OP_SYSCALL };
#define OP_DEFERRED 0x8000u /* | the operation that woke it */

/* The order is that of ROLES in probes/events.py. */
enum role { ROLE_MAIN, ROLE_APP, ROLE_KERNEL, ROLE_IDLE };

enum frame_kind { FRAME_IRQ, FRAME_EXCEPTION };

/* Whether it could go on; not known until it has stopped once, or was seen from its beginning. */
enum state { STATE_UNKNOWN, STATE_ASLEEP, STATE_AWAKE };

/*
 * An instruction that may have been counted though it faulted: it was if it is executed again.  If the phase is another
 * one by then, the count stays: what the cell's phase adds up to has been written down.
 */
struct retry {
    uint64_t pc;
    struct cell *cell;
    uint16_t phase;
    uint8_t costly; /* its class */
};

struct frame {
    uint8_t kind;
    uint8_t how; /* class of an interrupt: enum event_how */
    bool from_user;
    uint16_t name;
    uint64_t rep_pc; /* the REP instruction that it cut short, to be taken up again */
    struct retry retry; /* of the vCPU's where it began: elsewhere nothing is taken back */
    uint8_t vcpu;
};

#define FRAMES 8
#define THREAD_NAME 20 /* bytes: the longest field that a kernel has for it, FreeBSD's, with its last 0 */
struct thread {
    uint64_t task; /* address of the kernel's object; 0 while not known */
    uint32_t index;
    uint8_t role;
    bool user;   /* has run user code: outside system calls and frames it is in user mode */
    bool in_app; /* its last user code was the app's own, not libc's */
    bool in_syscall;
    uint8_t n_frames;
    uint16_t op;         /* operation entered from the app, or 0 */
    uint16_t syscall_op; /* operation of a system call outside any, or 0 */
    uint16_t syscall;    /* its name, for the event at its exit */
    uint8_t state;                     /* enum state */
    uint8_t stops;                     /* why it will, if it does: enum event_how */
    bool stops_as_announced;           /* on the way into the scheduler, so that nothing in there says better */
    uint8_t announced, announced_at;   /* enum event_how, and frames there were then */
    uint8_t op_result, syscall_result; /* enum result */
    uint64_t work;                     /* see work_done() */
    uint64_t op_began, syscall_began;  /* `work` then */
    uint64_t op_stack;                 /* RSP when it was entered, 0 if not known */
    uint64_t syscall_return;           /* where it goes on behind the call */
    uint16_t waker;      /* operation whose wake-up started it */
    int32_t process;     /* 0: the program's own; -1: not known */
    uint8_t on;          /* 1 + the vCPU that has it, 0 for none; only of several vCPUs */
    struct waits waits;  /* for locks */
    bool ended;
    char name[THREAD_NAME];
    uint32_t n_stops;
    int32_t creator;     /* index of the thread that made it, -1 if that was before */
    struct frame frames[FRAMES];
    struct stack stack;
};

struct thread *threads_new(uint64_t task, uint8_t role);
/* The thread of a task, made if it is new (role kernel until seen in user mode).  Never NULL. */
struct thread *threads_find(uint64_t task);
/*
 * One vCPU puts a thread off, another goes on with it: what the first knows of it, the second then knows.  Kernels may
 * let go of a thread a few instructions before the probe sees that: then threads_take() waits for it, though not for
 * ever.  False: in vain.
 */
void threads_let_go(struct thread *t);
bool threads_try(struct thread *t, unsigned vcpu);
bool threads_take(struct thread *t, unsigned vcpu);
/* What started a thread, which another vCPU may be running by now. */
static inline void threads_woken_by(struct thread *t, uint16_t operation)
{
    __atomic_store_n(&t->waker, operation, __ATOMIC_RELAXED);
}
/* Forgets which thread a task address stands for; that thread, or NULL. */
struct thread *threads_forget(uint64_t task);
void threads_name(struct thread *t, uint64_t task);
/* The thread that a task address stands for, or NULL. */
struct thread *threads_known(uint64_t task);
uint32_t threads_count(void);
struct thread *threads_at(uint32_t index);

static inline bool in_user_mode(const struct thread *t)
{
    return t->user && !t->in_syscall && !t->n_frames;
}

/* What the thread is doing, as an operation. */
static inline uint16_t thread_operation(const struct thread *t)
{
    for (int i = t->n_frames - 1; i >= 0; i--) {
        if (t->frames[i].kind == FRAME_IRQ)
            return OP_INTERRUPT;
        if (t->frames[i].from_user)
            return t->frames[i].name;
    }
    if (t->op)
        return t->op;
    if (t->in_syscall)
        return t->syscall_op ? t->syscall_op : OP_PENDING;
    if (t->user)
        return OP_USER;
    uint16_t waker = __atomic_load_n(&t->waker, __ATOMIC_RELAXED);
    return waker && t->role != ROLE_IDLE ? waker | OP_DEFERRED : OP_BACKGROUND;
}

#endif
