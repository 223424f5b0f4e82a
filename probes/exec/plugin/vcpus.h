/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How many vCPUs there are.  Each has a host thread of its own, and all call the probe at the same time.  What belongs to
 * a vCPU (struct vcpu, its rows of the ledger, its log of events) only its thread touches; what all share is locked.
 */
#ifndef WL_VCPUS_H
#define WL_VCPUS_H

#include <pthread.h>
#include <stdbool.h>

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define VCPUS 8 /* at most */

extern unsigned n_vcpus; /* of this machine; written before there are threads */

static inline bool several(void)
{
    return __builtin_expect(n_vcpus > 1, 0);
}

/* One vCPU needs no locks, and pays for none. */
static inline void lock(pthread_mutex_t *m)
{
    if (several())
        pthread_mutex_lock(m);
}

static inline void unlock(pthread_mutex_t *m)
{
    if (several())
        pthread_mutex_unlock(m);
}

#endif
