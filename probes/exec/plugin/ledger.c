/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ledger.h"
#include "vcpus.h"

#include <string.h>
#include <sys/mman.h>

#define SLOTS 65536u /* a power of two; rows are counted in hundreds */

static struct slot {
    uint64_t key; /* + 1, 0 is empty */
    struct cell *cells;
} all_slots[VCPUS][SLOTS];
static uint32_t n_rows[VCPUS];

struct cell *ledger_row(unsigned vcpu, uint16_t phase, uint8_t role, uint16_t operation)
{
    struct slot *slots = all_slots[vcpu];
    uint64_t key = ((uint64_t)phase << 32 | (uint64_t)role << 16 | operation) + 1;
    uint32_t i = (uint32_t)((key * 0x9e3779b97f4a7c15u) >> 48);
    while (slots[i].key && slots[i].key != key)
        i = (i + 1) % SLOTS;
    if (!slots[i].key) {
        if (n_rows[vcpu] >= SLOTS / 2)
            return NULL;
        void *p = mmap(NULL, LEDGER_FUNCTIONS * sizeof(struct cell), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED)
            return NULL;
        n_rows[vcpu]++;
        slots[i].key = key;
        slots[i].cells = p;
    }
    return slots[i].cells;
}

static bool empty(const struct cell *c)
{
    return !(c->raw | c->calls | c->rep_iterations | c->rep_bytes | c->idle);
}

void ledger_move(struct cell *from, struct cell *to, uint32_t n_functions)
{
    for (uint32_t i = 0; i < n_functions; i++) {
        if (empty(&from[i]))
            continue;
        to[i].raw += from[i].raw;
        to[i].calls += from[i].calls;
        to[i].rep_iterations += from[i].rep_iterations;
        to[i].rep_bytes += from[i].rep_bytes;
        to[i].idle += from[i].idle;
        memset(&from[i], 0, sizeof from[i]);
    }
}

bool ledger_write(FILE *f, uint32_t n_functions, const int32_t *function_of)
{
    for (uint32_t s = 0; s < n_vcpus * SLOTS; s++) {
        const struct slot *slot = &all_slots[s / SLOTS][s % SLOTS];
        if (!slot->key)
            continue;
        uint64_t key = slot->key - 1;
        uint16_t head[4] = {(uint16_t)(key >> 32), (uint16_t)(key >> 16), (uint16_t)key, (uint16_t)(s / SLOTS)};
        if (head[0] == NO_PHASE)
            continue;
        for (uint32_t i = 0; i < n_functions; i++) {
            const struct cell *c = &slot->cells[i];
            int32_t function[2] = {function_of[i], 0};
            if (empty(c))
                continue;
            if (fwrite(head, sizeof head, 1, f) != 1 || fwrite(function, sizeof function, 1, f) != 1 ||
                fwrite(c, sizeof *c, 1, f) != 1)
                return false;
        }
    }
    return true;
}
