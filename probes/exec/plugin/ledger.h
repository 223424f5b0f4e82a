/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ledger: for each vCPU rows by (phase, role, operation), in each row a cell per function.
 *
 * Functions get a small "seen" number when their code is first translated, so a row is short; rows are reserved whole
 * but only the touched pages of them exist.
 */
#ifndef WL_LEDGER_H
#define WL_LEDGER_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define LEDGER_FUNCTIONS 32768u
#define NO_PHASE 0xffffu

struct cell {
    uint64_t raw;            /* instructions, each iteration of a REP instruction counted */
    uint64_t calls;          /* entries at the function's first instruction */
    uint64_t rep_iterations; /* those of raw that were further iterations of a REP instruction */
    uint64_t rep_bytes;
    uint64_t idle; /* virtual ns */
};

/* What a row is of, as a number; never 0. */
static inline uint64_t row_of(uint16_t phase, uint8_t role, uint16_t operation)
{
    return (UINT64_C(1) << 48) | (uint64_t)phase << 32 | (uint64_t)role << 16 | operation;
}

/* How many cells a row has; before the first row. */
void ledger_width(uint32_t cells);
/* The cells of one row of a vCPU's; allocated on first use, never freed.  NULL when memory is out. */
struct cell *ledger_row(unsigned vcpu, uint16_t phase, uint8_t role, uint16_t operation);
/* Cells that are thrown away.  Never NULL. */
struct cell *ledger_nowhere(void);
/* Moves everything in `from` to `to`, rows of a vCPU's. */
void ledger_move(unsigned vcpu, struct cell *from, struct cell *to, uint32_t n_cells);
/* The same of one cell. */
void ledger_move_cell(unsigned vcpu, struct cell *from, struct cell *to);
/*
 * Writes every non-empty cell of a phase: u16 phase, role, operation, vcpu; i32 function, 0; five u64; and its costly
 * instructions, see costly.h, to `costly`.  False on error.  Without `function_of` cells keep their number.
 */
bool ledger_write(FILE *f, FILE *costly, uint32_t n_cells, const int32_t *function_of);

#endif
