/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What became of a call: how many instructions it took, and whether it failed. */
#ifndef WL_RESULTS_H
#define WL_RESULTS_H

#include <stdbool.h>
#include <stdint.h>

struct hook;
struct segment;
struct vcpu;

/* How a function, or a system call, says that it failed.  The order is that of RESULTS in probes/exec/places.py. */
enum result {
    RESULT_NOTHING,
    RESULT_INT,      /* -1 in 32 bits */
    RESULT_LONG,     /* -1 in 64 */
    RESULT_POINTER,  /* null */
    RESULT_ERROR,    /* not 0 */
    RESULT_NEGATIVE, /* -4095 to -1 in 64 bits */
    RESULT_CARRY,    /* the carry flag */
    RESULTS
};

/*
 * Instructions that the current thread has executed since it was first seen, but for those of interrupts.  To be called
 * before it is switched out and before an interrupt's frame comes or goes, as well.
 */
uint64_t work_done(struct vcpu *v);

/* Whether the thread goes on at `address` with segment `s`, or an interrupt that is there first will return to it. */
bool goes_on_at(const struct vcpu *v, uint64_t address, const struct segment *s);

/* The app has called what `hook` is at, with the first instruction of a translation block: an operation begins. */
void operation_entered(struct vcpu *v, const struct hook *hook);
/* The app's own code goes on, with the first instruction of a translation block. */
void operation_left(struct vcpu *v);

/* The kernel's system call entry, which `hook` is at, follows `before`; one at a handler; the thread left it for `s`. */
void syscall_entered(struct vcpu *v, const struct hook *hook, const struct segment *before);
void syscall_handled(struct vcpu *v, const struct hook *hook);
void syscall_left(struct vcpu *v, uint8_t tail, const struct segment *s);

#endif
