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

/*
 * A row is three arrays, with a cell's parts at the same place in each: every segment that executes comes by the first
 * one, so that it is to take little of the host's cache; few cells have anything in the others.
 */
struct cell {
    uint64_t raw;   /* instructions, each iteration of a REP instruction counted */
    uint64_t calls; /* entries at the function's first instruction */
};
struct cell_rep {
    uint64_t iterations; /* those of raw that were further iterations of a REP instruction */
    uint64_t bytes;
};
struct cell_idle {
    uint64_t ns; /* virtual */
    uint64_t unused;
};
_Static_assert(sizeof(struct cell_rep) == sizeof(struct cell) && sizeof(struct cell_idle) == sizeof(struct cell),
               "the arrays of a row are alike");

/* What a row is of, as a number; never 0. */
static inline uint64_t row_of(uint16_t phase, uint8_t role, uint16_t operation)
{
    return (UINT64_C(1) << 48) | (uint64_t)phase << 32 | (uint64_t)role << 16 | operation;
}

/* How many cells a row has; before the first row. */
void ledger_set_width(uint32_t cells);
extern uint32_t ledger_width;
static inline struct cell_rep *rep_of(struct cell *c)
{
    return (struct cell_rep *)(c + ledger_width);
}
static inline struct cell_idle *idle_of(struct cell *c)
{
    return (struct cell_idle *)(c + 2 * (size_t)ledger_width);
}
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
