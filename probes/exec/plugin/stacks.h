/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Call stacks, counted: a shadow stack per thread, kept by the call and return instructions that execute.
 *
 * A node of one tree is a function called from another node; in this mode the cells of a ledger's row are those of
 * nodes instead of functions.  The node's function is at any time that of the segment that executes: whatever may be
 * wrong with a stack, the ledger by function is what it is without stacks.
 */
#ifndef WL_STACKS_H
#define WL_STACKS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct vcpu;
struct thread;
struct segment;

#define NODES (4u << 20)
#define NODE_DEPTH 512 /* frames below are shown as if called from the last but one */

struct node {
    uint32_t parent, function; /* function: a seen number */
    uint32_t last, last_function; /* its child that was entered last */
};

/*
 * What a thread returns to.  `ret` is the return address, 0 at the bottom; a *mark* has there, instead, what was
 * interrupted (see stacks.c), which is no canonical address.
 */
struct call {
    uint64_t ret;
    uint32_t node, function; /* of the function that was called */
};

struct stack {
    struct call *calls, *top, *end; /* all NULL: nothing has run yet */
    uint32_t signals; /* signals that the kernel has set up for the thread's next user code */
    bool bottom_known; /* the thread was made while we looked: its first call has no caller */
    bool signal_returns; /* the next user code is what a signal interrupted */
};

/* Things that happen to stacks; `resync` and `full` should not. */
struct stacks_seen {
    uint64_t unwound; /* frames left otherwise than one by one: longjmp, exceptions */
    uint64_t opened;  /* returns to callers from before the thread was first seen */
    uint64_t deep;    /* calls beyond NODE_DEPTH */
    uint64_t resync;  /* returns and jumps to where nothing explains them */
    uint64_t full;    /* calls without room for a node or a return address */
};

extern bool stacks; /* whether this run has them */
extern struct node *nodes;
extern uint32_t n_nodes;
extern struct stacks_seen stacks_seen;

bool stacks_init(void);
uint32_t stacks_child_slow(uint32_t parent, uint32_t function);
void stacks_step_slow(struct vcpu *v, const struct segment *before, const struct segment *s, bool whole);
bool stacks_grow(struct stack *st);

/*
 * `s`, at a hook, is the entry of a system call, exception or interrupt that comes behind `before`.  Interrupts are
 * called by nobody: their stacks begin there.
 */
void stacks_enter(struct vcpu *v, const struct segment *before, const struct segment *s, bool whole);
/* The kernel prepares a signal for the current thread's user code; it ends one. */
void stacks_signal(struct thread *t);
void stacks_signal_returns(struct thread *t);
/* Back to what the last stacks_enter() interrupted. */
void stacks_leave(struct vcpu *v);
/* User code is reached by a way that was not seen: nothing of the kernel is open. */
void stacks_lost(struct vcpu *v, const struct segment *s);
/* The thread goes on that is current now, in the segment that executes. */
void stacks_switch(struct vcpu *v);
/* The current thread makes this one. */
void stacks_new(struct thread *t);
/* The node of a pseudo function, as called from where a thread is. */
uint32_t stacks_pseudo(const struct thread *t, uint32_t function);
void stacks_forget(struct thread *t);
/* Every node: u32 parent, i32 function; the root is the first.  False on error. */
bool stacks_write(FILE *f, const int32_t *function_of);

static inline uint32_t stacks_child(uint32_t parent, uint32_t function)
{
    const struct node *p = &nodes[parent];
    return p->last_function == function ? p->last : stacks_child_slow(parent, function);
}

#endif
