/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Asks guest.c for registers of a vCPU that is none: what QEMU exports is here. */
#include "guest.h"
#include "vcpus.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

enum { WORDS = 4096, AT = 1000, COPY_AT = 3000 };
static uint64_t registers[16]; /* in the stub's order */
static uint64_t *cpu;
static unsigned asked;
EXPORT __thread void *current_cpu;

struct byte_array {
    uint8_t *data;
    unsigned len;
};

EXPORT struct byte_array *g_byte_array_new(void)
{
    static struct byte_array array;
    static uint8_t bytes[64];
    array.data = bytes;
    return &array;
}

EXPORT struct byte_array *g_byte_array_set_size(struct byte_array *array, unsigned n)
{
    array->len = n;
    return array;
}

EXPORT int x86_cpu_gdb_read_register(void *of, struct byte_array *to, int n)
{
    asked++;
    if (of != cpu)
        return 0;
    memcpy(to->data + to->len, &registers[n], sizeof *registers);
    to->len += sizeof *registers;
    return sizeof *registers;
}

EXPORT int cpu_memory_rw_debug(void *of, uint64_t addr, void *to, uint64_t n, bool is_write)
{
    (void)addr, (void)to, (void)n;
    return of == cpu && !is_write ? 0 : -1;
}

static void lay(uint64_t *to)
{
    static const int order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                  REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
    for (int i = 0; i < 16; i++)
        to[i] = registers[order[i]];
}

/*
 * Where the vCPU's object has its registers: "once", "twice", "nowhere", or in a place that is no longer theirs "later".
 * Out: how many of so many readings were right, and how many the stub was asked for.
 */
int main(int argc, char **argv)
{
    const char *where = argc > 1 ? argv[1] : "";
    unsigned n = argc > 2 ? (unsigned)atoi(argv[2]) : 0, right = 0;
    cpu = calloc(WORDS, sizeof *cpu);
    current_cpu = cpu;
    if (!guest_find())
        return 1;
    for (unsigned i = 0; i < n; i++) {
        for (int r = 0; r < 16; r++)
            registers[r] = (i + 1) * 1000003u + (unsigned)r * 77;
        if (strcmp(where, "nowhere") && (i < 10 || strcmp(where, "later")))
            lay(cpu + AT);
        if (!strcmp(where, "twice"))
            lay(cpu + COPY_AT);
        uint64_t value;
        right += guest_register(0, (enum guest_register)(i % 16), &value) && value == registers[i % 16];
    }
    printf("%u %u\n", right, asked);
    return 0;
}
