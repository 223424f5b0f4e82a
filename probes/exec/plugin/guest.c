/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QEMU's plugin interface has registers from 9.0 on and memory from 10.0 on.  What its debugger's stub uses is older and
 * the same in all: x86_cpu_gdb_read_register() and cpu_memory_rw_debug(), which QEMU exports.  Neither changes anything.
 */
#include "guest.h"

#include <dlfcn.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct byte_array { /* GLib's GByteArray, as it is declared */
    uint8_t *data;
    unsigned len;
};

static int (*read_register)(void *cpu, struct byte_array *to, int n);
static int (*read_memory)(void *cpu, uint64_t addr, void *to, uint64_t n, bool is_write);
static void (*dump_state)(void *cpu, FILE *to, int flags);
static struct byte_array *(*array_new)(void);
static struct byte_array *(*array_set_size)(struct byte_array *array, unsigned n);
static __thread struct byte_array *array; /* vCPUs have threads of their own */

bool guest_find(void)
{
    *(void **)&read_register = dlsym(RTLD_DEFAULT, "x86_cpu_gdb_read_register");
    *(void **)&read_memory = dlsym(RTLD_DEFAULT, "cpu_memory_rw_debug");
    *(void **)&dump_state = dlsym(RTLD_DEFAULT, "x86_cpu_dump_state");
    *(void **)&array_new = dlsym(RTLD_DEFAULT, "g_byte_array_new");
    *(void **)&array_set_size = dlsym(RTLD_DEFAULT, "g_byte_array_set_size");
    if (!dlsym(RTLD_DEFAULT, "current_cpu") || !array_new || !array_set_size)
        read_register = NULL;
    return guest_readable();
}

bool guest_readable(void)
{
    return read_register && read_memory;
}

/* A thread's own variable: dlsym gives the address of the calling thread's. */
static __thread void **current_cpu;

/* Whether there is something to look into; the calling thread is made ready where it is not. */
static bool ready(void)
{
    if (!guest_readable())
        return false;
    if (!current_cpu) {
        current_cpu = dlsym(RTLD_DEFAULT, "current_cpu");
        array = array_new();
    }
    return true;
}

bool guest_register(enum guest_register n, uint64_t *value)
{
    if (!ready())
        return false;
    array_set_size(array, 0);
    if (read_register(*current_cpu, array, (int)n) != sizeof *value)
        return false;
    __builtin_memcpy(value, array->data, sizeof *value);
    return true;
}

/* The flags that the debugger's stub gives lack those that TCG computes only when it must: those it prints do not. */
bool guest_flags(uint64_t *value)
{
    char text[8192];
    if (!dump_state || !ready())
        return false;
    FILE *f = fmemopen(text, sizeof text, "w");
    if (!f)
        return false;
    dump_state(*current_cpu, f, 0);
    bool whole = fclose(f) == 0;
    text[sizeof text - 1] = 0;
    const char *found = whole ? strstr(text, " RFL=") : NULL;
    return found && sscanf(found, " RFL=%" SCNx64, value) == 1;
}

bool guest_memory(uint64_t addr, void *to, size_t n)
{
    return ready() && read_memory(*current_cpu, addr, to, n, false) == 0;
}
