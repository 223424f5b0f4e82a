/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Waits for locks: from where one was asked for and not had to where the function that waits ends. */
#ifndef WL_LOCKS_H
#define WL_LOCKS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* `disp` of the hooks where a lock is asked for, if not the offset of the pointer to its name; as in waits.py. */
enum { LOCK_WITHOUT_NAME = -1, LOCK_OF_USER = -2 };

/* A lock that a thread has asked for. */
struct wait {
    uint64_t lock;    /* its address, 0 if not known */
    uint64_t stopped; /* the thread's count of `stopped` when the wait began */
    int32_t name_at; /* the offset of the pointer to its name, or one of the above */
    uint16_t function;
    bool begun, said;
};

#define WAITS 8
struct waits {
    struct wait open[WAITS]; /* the innermost last */
    uint64_t stopped;        /* how often the thread has stopped of itself */
    uint8_t n;
};

struct vcpu;
struct hook;
struct thread;

/* At one of the hooks of locks. */
void lock_hook(struct vcpu *v, struct hook *h);
/* The thread, the vCPU's, has left the kernel, where none of its waits can be open. */
void locks_left(struct vcpu *v);
/* Writes what is known of locks, as JSON: [[address, what the kernel calls it in hexadecimal, what points at it], ...]. */
void locks_write(FILE *f);

#endif
