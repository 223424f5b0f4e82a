/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Stands in for QEMU and for the parts that ask it, where a driver has nothing of its own to say: nothing is known. */
#include "guest.h"
#include "qemu_api.h"
#include "state.h"
#include "window.h"

#define WEAK __attribute__((weak))

WEAK bool clock_known(void)
{
    return false;
}
WEAK int64_t clock_read(void)
{
    return 0;
}
WEAK uint64_t clock_host(void)
{
    return 0;
}
WEAK bool guest_register(unsigned vcpu, enum guest_register n, uint64_t *value)
{
    return (void)vcpu, (void)n, (void)value, false;
}
WEAK bool guest_flags(unsigned vcpu, uint64_t *value)
{
    return (void)vcpu, (void)value, false;
}
WEAK bool guest_memory(unsigned vcpu, uint64_t addr, void *to, size_t n)
{
    return (void)vcpu, (void)addr, (void)to, (void)n, false;
}
WEAK void window_listen(struct vcpu *v)
{
    (void)v;
}
WEAK void window_first_block(struct vcpu *v)
{
    (void)v;
}
WEAK struct qemu_plugin_hwaddr *qemu_plugin_get_hwaddr(qemu_plugin_meminfo_t info, uint64_t vaddr)
{
    return (void)info, (void)vaddr, NULL;
}
WEAK bool qemu_plugin_hwaddr_is_io(const struct qemu_plugin_hwaddr *where)
{
    return where != NULL;
}
