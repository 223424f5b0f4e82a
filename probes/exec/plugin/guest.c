/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QEMU's plugin interface has registers from 9.0 on and memory from 10.0 on.  What its debugger's stub uses is older and
 * the same in all: x86_cpu_gdb_read_register() and cpu_memory_rw_debug(), which QEMU exports.  Neither changes anything.
 */
#include "guest.h"

#include "vcpus.h"

#include <dlfcn.h>
#include <inttypes.h>
#include <malloc.h>
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

enum { REGISTERS = 16, CONFIRMED = 256 };

/* What is known of a vCPU; only its own thread asks. */
static struct seen {
    void *cpu; /* QEMU's object */
    struct byte_array *array;
    const uint64_t *registers; /* in there, or NULL */
    unsigned reads;            /* by the stub, up to CONFIRMED */
} all[VCPUS];

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

/* The vCPU, whose thread calls, if there is something to look into, or NULL. */
static struct seen *ready(unsigned vcpu)
{
    struct seen *seen = &all[vcpu];
    if (likely(seen->cpu))
        return seen;
    if (!guest_readable())
        return NULL;
    seen->cpu = *(void **)dlsym(RTLD_DEFAULT, "current_cpu"); /* a thread's own variable: its address in this one */
    if (!seen->cpu)
        return NULL;
    seen->array = array_new();
    return seen;
}

static bool ask(const struct seen *seen, unsigned n, uint64_t *value)
{
    array_set_size(seen->array, 0);
    if (read_register(seen->cpu, seen->array, (int)n) != sizeof *value)
        return false;
    __builtin_memcpy(value, seen->array->data, sizeof *value);
    return true;
}

/* Where QEMU keeps a register among the others, which is the order of their numbers in instructions. */
static unsigned place(unsigned n)
{
    static const uint8_t places[REGISTERS] = {0, 3, 1, 2, 6, 7, 5, 4, 8, 9, 10, 11, 12, 13, 14, 15};
    return places[n];
}

/*
 * Each operation of the app's asks for registers, and the stub takes ten times as long as reading them where they lie:
 * the only place in the vCPU's object that has the values of all of them.  NULL if that is not just one.
 */
static const uint64_t *look_for_registers(const struct seen *seen)
{
    uint64_t values[REGISTERS] = {0};
    const uint64_t *words = seen->cpu, *found = NULL;
    for (unsigned n = 0; n < REGISTERS; n++)
        if (!ask(seen, n, &values[place(n)]))
            return NULL;
    for (size_t n = malloc_usable_size(seen->cpu) / sizeof *words; n >= REGISTERS; n--, words++)
        if (!memcmp(words, values, sizeof values)) {
            if (found)
                return NULL;
            found = words;
        }
    return found;
}

/* Reads by the stub, and holds what was found against it until that is believed. */
static bool read_slow(struct seen *seen, unsigned n, uint64_t *value)
{
    if (!ask(seen, n, value))
        return false;
    if (!seen->reads)
        seen->registers = look_for_registers(seen);
    if (seen->registers && seen->registers[place(n)] != *value)
        seen->registers = NULL;
    seen->reads++;
    return true;
}

bool guest_register(unsigned vcpu, enum guest_register n, uint64_t *value)
{
    struct seen *seen = &all[vcpu];
    if (likely(seen->registers && seen->reads >= CONFIRMED)) {
        *value = seen->registers[place(n)];
        return true;
    }
    return ready(vcpu) && read_slow(seen, n, value);
}

/* The flags that the debugger's stub gives lack those that TCG computes only when it must: those it prints do not. */
bool guest_flags(unsigned vcpu, uint64_t *value)
{
    char text[8192];
    const struct seen *seen = ready(vcpu);
    if (!dump_state || !seen)
        return false;
    FILE *f = fmemopen(text, sizeof text, "w");
    if (!f)
        return false;
    dump_state(seen->cpu, f, 0);
    bool whole = fclose(f) == 0;
    text[sizeof text - 1] = 0;
    const char *found = whole ? strstr(text, " RFL=") : NULL;
    return found && sscanf(found, " RFL=%" SCNx64, value) == 1;
}

bool guest_memory(unsigned vcpu, uint64_t addr, void *to, size_t n)
{
    const struct seen *seen = ready(vcpu);
    return seen && read_memory(seen->cpu, addr, to, n, false) == 0;
}
