/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "costly.h"

#include <stdlib.h>
#include <string.h>

/* Open addressing from a cell's address to its counts; nothing is ever freed, so that counts stay where they are. */
struct slot {
    const struct cell *cell;
    uint64_t *counts;
};
static struct table {
    struct slot *slots;
    size_t n, used;
} tables[VCPUS];

static struct slot *slot_of(const struct table *t, const struct cell *cell)
{
    size_t i = (size_t)((uintptr_t)cell * 0x9e3779b97f4a7c15u >> 32) & (t->n - 1);
    while (t->slots[i].cell && t->slots[i].cell != cell)
        i = (i + 1) & (t->n - 1);
    return &t->slots[i];
}

static void *zeroed(size_t n, size_t size)
{
    void *p = calloc(n, size);
    if (!p)
        abort();
    return p;
}

static void grow(struct table *t)
{
    struct table old = *t;
    t->n = old.n ? 2 * old.n : 4096;
    t->slots = zeroed(t->n, sizeof *t->slots);
    for (size_t i = 0; i < old.n; i++)
        if (old.slots[i].cell)
            *slot_of(t, old.slots[i].cell) = old.slots[i];
    free(old.slots);
}

/* A cell's counts; NULL if it has none. */
static uint64_t *known(const struct table *t, const struct cell *cell)
{
    return t->n ? slot_of(t, cell)->counts : NULL;
}

static uint64_t *counts_of(struct table *t, const struct cell *cell)
{
    uint64_t *counts = known(t, cell);
    if (counts)
        return counts;
    if (2 * t->used >= t->n)
        grow(t);
    t->used++;
    struct slot *slot = slot_of(t, cell);
    slot->cell = cell;
    return slot->counts = zeroed(COSTLY_CLASSES, sizeof *slot->counts);
}

#define MOST 512 /* QEMU's blocks have no more instructions (TCG_MAX_INSNS) */
static struct costly_place found[MOST];
static uint16_t n_found;

void costly_add(unsigned index, uint8_t class)
{
    if (n_found < MOST)
        found[n_found++] = (struct costly_place){(uint16_t)index, class};
}

struct costly *costly_take(void)
{
    if (!n_found)
        return NULL;
    struct costly *c = zeroed(1, sizeof *c + n_found * sizeof *found);
    memcpy(c->places, found, n_found * sizeof *found);
    c->n = n_found;
    n_found = 0;
    return c;
}

uint8_t costly_count(unsigned vcpu, struct costly *c, const struct cell *cell, uint64_t from, uint64_t to)
{
    uint8_t last = COSTLY_NONE;
    if (c->last[vcpu].cell != cell) {
        c->last[vcpu].counts = counts_of(&tables[vcpu], cell);
        c->last[vcpu].cell = cell;
    }
    uint64_t *counts = c->last[vcpu].counts;
    for (unsigned i = 0; i < c->n && c->places[i].index < to; i++) {
        if (c->places[i].index < from)
            continue;
        counts[c->places[i].class]++;
        if (c->places[i].index == to - 1)
            last = c->places[i].class;
    }
    return last;
}

void costly_change(unsigned vcpu, const struct cell *cell, uint8_t class, int by)
{
    counts_of(&tables[vcpu], cell)[class] += (uint64_t)by;
}

void costly_move(unsigned vcpu, const struct cell *from, const struct cell *to)
{
    uint64_t *source = known(&tables[vcpu], from);
    if (!source)
        return;
    uint64_t *target = counts_of(&tables[vcpu], to);
    for (int class = 0; class < COSTLY_CLASSES; class++)
        target[class] += source[class];
    memset(source, 0, COSTLY_CLASSES * sizeof *source);
}

bool costly_write(FILE *f, unsigned vcpu, const uint16_t key[3], int32_t function, const struct cell *cell)
{
    const uint64_t *counts = known(&tables[vcpu], cell);
    for (uint16_t class = 1; counts && class < COSTLY_CLASSES; class++) {
        struct {
            uint16_t key[4];
            int32_t function, unused;
            uint64_t count;
        } row = {{key[0], key[1], key[2], class}, function, 0, counts[class]};
        if (row.count && fwrite(&row, sizeof row, 1, f) != 1)
            return false;
    }
    return true;
}
