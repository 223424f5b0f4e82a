/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ledger.h"
#include "costly.h"
#include "vcpus.h"

#include <stdlib.h>
#include <sys/mman.h>

#define SLOTS 65536u /* a power of two; rows are counted in hundreds */
enum { ARRAYS = 3 };

static struct slot {
    uint64_t key; /* row_of(), or 0 */
    struct cell *cells;
} all_slots[VCPUS][SLOTS];
static uint32_t n_rows[VCPUS];
uint32_t ledger_width = LEDGER_FUNCTIONS;

void ledger_set_width(uint32_t cells)
{
    ledger_width = cells;
}

static struct cell *cells_new(void)
{
    void *p = mmap(NULL, ARRAYS * ledger_width * sizeof(struct cell), PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

struct cell *ledger_nowhere(void)
{
    struct cell *cells = cells_new();
    if (!cells)
        abort();
    return cells;
}

struct cell *ledger_row(unsigned vcpu, uint16_t phase, uint8_t role, uint16_t operation)
{
    struct slot *slots = all_slots[vcpu];
    uint64_t key = row_of(phase, role, operation);
    /* Rows of a phase side by side: they are in use together, and each new page of this takes the host microseconds. */
    uint32_t i = ((uint32_t)phase * 512 + role * 64u + operation) % SLOTS;
    while (slots[i].key && slots[i].key != key)
        i = (i + 1) % SLOTS;
    if (!slots[i].key) {
        if (n_rows[vcpu] >= SLOTS / 2)
            return NULL;
        struct cell *cells = cells_new();
        if (!cells)
            return NULL;
        n_rows[vcpu]++;
        slots[i].key = key;
        slots[i].cells = cells;
    }
    return slots[i].cells;
}

static bool empty(struct cell *c)
{
    return !(c->raw | c->calls | rep_of(c)->iterations | rep_of(c)->bytes | idle_of(c)->ns);
}

void ledger_move_cell(unsigned vcpu, struct cell *from, struct cell *to)
{
    to->raw += from->raw;
    to->calls += from->calls;
    *from = (struct cell){0};
    struct cell_rep *rep = rep_of(from);
    if (rep->iterations | rep->bytes) {
        rep_of(to)->iterations += rep->iterations;
        rep_of(to)->bytes += rep->bytes;
        *rep = (struct cell_rep){0};
    }
    if (idle_of(from)->ns) {
        idle_of(to)->ns += idle_of(from)->ns;
        *idle_of(from) = (struct cell_idle){0};
    }
    costly_move(vcpu, from, to);
}

void ledger_move(unsigned vcpu, struct cell *from, struct cell *to, uint32_t n_cells)
{
    for (uint32_t i = 0; i < n_cells; i++)
        if (!empty(&from[i]))
            ledger_move_cell(vcpu, &from[i], &to[i]);
}

bool ledger_write(FILE *f, FILE *costly, uint32_t n_cells, const int32_t *function_of)
{
    for (uint32_t s = 0; s < n_vcpus * SLOTS; s++) {
        const struct slot *slot = &all_slots[s / SLOTS][s % SLOTS];
        if (!slot->key)
            continue;
        uint16_t head[4] = {(uint16_t)(slot->key >> 32), (uint16_t)(slot->key >> 16), (uint16_t)slot->key, (uint16_t)(s / SLOTS)};
        if (head[0] == NO_PHASE)
            continue;
        for (uint32_t i = 0; i < n_cells; i++) {
            struct cell *c = &slot->cells[i];
            int32_t function[2] = {function_of ? function_of[i] : (int32_t)i, 0};
            if (empty(c))
                continue;
            uint64_t counts[] = {c->raw, c->calls, rep_of(c)->iterations, rep_of(c)->bytes, idle_of(c)->ns};
            if (fwrite(head, sizeof head, 1, f) != 1 || fwrite(function, sizeof function, 1, f) != 1 ||
                fwrite(counts, sizeof counts, 1, f) != 1 || !costly_write(costly, s / SLOTS, head, function[0], c))
                return false;
        }
    }
    return true;
}
