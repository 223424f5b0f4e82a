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
static void (*icount_update)(void *cpu);
static void **current_cpu;

bool clock_find(void)
{
    icount_update = (void (*)(void *))dlsym(RTLD_DEFAULT, "icount_update");
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

/*
 * The last instruction of a block halts the vCPU.  From there on QEMU's main thread, whenever it comes by, may take the
 * vCPU for idle, and moves the clock by what is missing to the next timer.  But QEMU adds to the clock what the vCPU has
 * executed a little later: if the main thread is in between, the clock goes too far by that, and what the host did decides
 * what the guest sees.  Here it is added before; QEMU finds nothing left to add.
 */
static void on_halt(unsigned vcpu, void *udata)
{
    (void)vcpu;
    (void)udata;
    if (!current_cpu)
        current_cpu = dlsym(RTLD_DEFAULT, "current_cpu");
    icount_update(*current_cpu);
}

void clock_before_halt(struct qemu_plugin_insn *insn)
{
    if (icount_update && clock_known() && !several())
        qemu_plugin_register_vcpu_insn_exec_cb(insn, on_halt, QEMU_PLUGIN_CB_NO_REGS, NULL);
}
