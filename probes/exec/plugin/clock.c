/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "state.h"

#include <dlfcn.h>
#include <time.h>

/*
 * Of one vCPU virtual time is instructions plus what was skipped while the vCPU was halted.  QEMU's clock may not be read from a
 * block that is being executed; read as if by another thread it gives its value at the last time the vCPU stopped,
 * which is exactly what is wanted: it last stopped at the HLT.
 *
 * Several vCPUs run without -icount, and their instructions add up to no time: there it is the host's.
 */
static int64_t (*clock_get_ns)(int type);
static void **current_cpu;

bool clock_find(void)
{
    if (dlsym(RTLD_DEFAULT, "current_cpu"))
        clock_get_ns = (int64_t(*)(int))dlsym(RTLD_DEFAULT, "qemu_clock_get_ns");
    return clock_known();
}

bool clock_known(void)
{
    return clock_get_ns != NULL;
}

static uint64_t armed_at; /* by the host's clock */

static uint64_t host_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* current_cpu is a thread's own: dlsym gives the address of the calling thread's. */
void clock_arm(void)
{
    current_cpu = dlsym(RTLD_DEFAULT, "current_cpu");
    armed_at = host_ns();
}

uint64_t clock_host(void)
{
    return host_ns() - armed_at;
}

int64_t clock_read(void)
{
    if (!clock_get_ns)
        return 0;
    void *self = *current_cpu;
    *current_cpu = NULL;
    int64_t t = clock_get_ns(1 /* QEMU_CLOCK_VIRTUAL */);
    *current_cpu = self;
    return t;
}
