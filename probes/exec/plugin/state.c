/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "state.h"

unsigned n_vcpus = 1;
struct wl_counters counters;
struct config config;
bool exact;
bool only_marks;
struct vcpu vcpus[VCPUS] = {[0 ... VCPUS - 1] = {.node = NO_STACK}};
struct trouble trouble;
int32_t function_of[LEDGER_FUNCTIONS];
uint32_t n_seen = SEEN_FIRST;
struct segment *segments;

struct cell *row_for(const struct vcpu *v, uint8_t role, uint16_t operation)
{
    static struct cell *nowhere[VCPUS];
    struct cell *row = ledger_row(v->number, v->phase, role, operation);
    if (likely(row))
        return row;
    TROUBLE(rows);
    if (!nowhere[v->number])
        nowhere[v->number] = ledger_nowhere();
    return nowhere[v->number];
}
