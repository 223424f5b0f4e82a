/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The windows: where each phase began and ended.
 *
 * One vCPU marks that, and the others learn of it where their next segment begins, or when all are stopped at the end:
 * what has been charged by then belongs to what was before.  One that is halted was so on both sides of the mark: its
 * idle time is divided there.
 */
#include "state.h"

#include <time.h>

#define MAX_PHASES 4096
static struct mark {
    uint64_t time;
    uint16_t number;
    bool is_begin;
} marks[MAX_PHASES];
uint32_t n_marks;
static pthread_mutex_t marking = PTHREAD_MUTEX_INITIALIZER;
static struct phase_point points[VCPUS][MAX_PHASES];

const struct phase_point *phase_points(const struct vcpu *v, uint32_t *n)
{
    *n = v->marks_seen;
    return points[v->number];
}

static void idle_until(struct vcpu *v, uint64_t time)
{
    if (several() && v->segment->tail == INSN_HLT && time > v->halted_at) {
        v->idle_total += time - v->halted_at;
        v->idle_uncharged += time - v->halted_at;
        v->halted_at = time;
    }
    if (v->idle_uncharged) { /* on one vCPU not reached while a thread opens and closes its own windows */
        idle_of(&row_for(v, v->thread->role, OP_BACKGROUND)[cell_of(v->thread, SEEN_IDLE)])->ns += v->idle_uncharged;
        v->idle_uncharged = 0;
    }
}

/* Of this vCPU's thread of QEMU's; where another thread takes over for it, at the end, it means nothing. */
static uint64_t cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void take_over(struct vcpu *v, const struct mark *m)
{
    pending_ends(v);
    idle_until(v, m->time);
    points[v->number][v->marks_seen++] =
        (struct phase_point){m->number, v->last, v->rep_total, v->idle_total, cpu_ns()};
    v->phase = m->is_begin ? m->number : NO_PHASE;
    v->silent &= !m->is_begin;
    set_row(v);
}

void phases_catch_up(struct vcpu *v)
{
    while (phases_behind(v))
        take_over(v, &marks[v->marks_seen]);
}

void phase_mark(struct vcpu *v, bool is_begin, uint16_t number)
{
    charge(v);
    lock(&marking);
    bool open = n_marks & 1;
    if (n_marks == MAX_PHASES) {
        TROUBLE(phases);
    } else if (open != is_begin) {
        struct mark *m = &marks[n_marks];
        *m = (struct mark){time_now(v), open ? marks[n_marks - 1].number : number, is_begin};
        __atomic_store_n(&n_marks, n_marks + 1, __ATOMIC_RELEASE);
        events_put(&(struct event){.time = m->time, .thread = v->thread->index, .vcpu = v->number,
                                   .kind = is_begin ? EV_PHASE_BEGIN : EV_PHASE_END, .value = m->number,
                                   .stack = v->node});
    }
    unlock(&marking);
    phases_catch_up(v);
}
