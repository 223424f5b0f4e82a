/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The windows: where each phase began and ended. */
#include "state.h"

#define MAX_PHASES 4096
static struct phase_point phases[MAX_PHASES];
static uint32_t n_phases;

const struct phase_point *phase_points(uint32_t *n)
{
    *n = n_phases;
    return phases;
}

void phase_mark(struct vcpu *v, bool is_begin, uint16_t number)
{
    charge(v);
    if (v->idle_uncharged) { /* not reached while a thread opens and closes its own windows */
        row_for(v, v->thread->role, OP_BACKGROUND)[SEEN_IDLE].idle += v->idle_uncharged;
        v->idle_uncharged = 0;
    }
    if (n_phases == MAX_PHASES) {
        trouble.phases++;
        return;
    }
    phases[n_phases].number = number;
    phases[n_phases].raw = v->c->raw;
    phases[n_phases].rep = v->rep_total;
    phases[n_phases].idle = v->idle_total;
    n_phases++;
    put(v, is_begin ? EV_PHASE_BEGIN : EV_PHASE_END, HOW_NONE, NAME_NONE, number);
    v->phase = is_begin ? number : NO_PHASE;
    set_row(v);
}
