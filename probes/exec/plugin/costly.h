/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Costly instructions, counted per cell of the ledger.
 *
 * A segment knows its own and where in it they are; as many are counted as it executed, whenever it is charged.  Most
 * cells have none: counts are kept apart from them, found by the cell's address, and remembered by the segment.
 */
#ifndef WL_COSTLY_H
#define WL_COSTLY_H

#include "insn.h"
#include "vcpus.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct cell;

struct costly {
    struct {
        const struct cell *cell; /* that it was charged to last, */
        uint64_t *counts;        /* and that cell's, by class */
    } last[VCPUS];
    uint16_t n;
    struct costly_place {
        uint16_t index; /* among the segment's instructions */
        uint8_t class;  /* enum costly_class */
    } places[];
};

/* At translation: the segment's instruction `index` is of `class`; what the segment has, NULL for nothing. */
void costly_add(unsigned index, uint8_t class);
struct costly *costly_take(void);

/*
 * Counts those with `from` <= index < `to`, in a cell of the vCPU's; the class of the one at `to` - 1, if it is one.
 */
uint8_t costly_count(unsigned vcpu, struct costly *c, const struct cell *cell, uint64_t from, uint64_t to);
/* One more or less in a cell. */
void costly_change(unsigned vcpu, const struct cell *cell, uint8_t class, int by);
/* Moves all of a cell's. */
void costly_move(unsigned vcpu, const struct cell *from, const struct cell *to);
/* Writes a cell's: u16 phase, role, operation, class; i32 function, 0; u64 count.  False on error. */
bool costly_write(FILE *f, unsigned vcpu, const uint16_t key[3], int32_t function, const struct cell *cell);

#endif
