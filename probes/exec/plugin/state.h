/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the probe knows at any moment. */
#ifndef WL_STATE_H
#define WL_STATE_H

#include "config.h"
#include "costly.h"
#include "events.h"
#include "insn.h"
#include "ledger.h"
#include "qemu_api.h"
#include "stacks.h"
#include "threads.h"
#include "window.h"

/* Functions that are no function; configure.py gives real ones numbers from 0. */
enum { SEEN_UNKNOWN, SEEN_OUTSIDE, SEEN_IDLE, SEEN_DEVICE_WAIT, SEEN_FIRST };

enum { NOT_PLAIN = 0, NEVER = 15 };

/* How a segment is left, as far as call stacks are concerned; LEAVES_MODE: back from the kernel. */
enum leaves { LEAVES_NEXT, LEAVES_CALL, LEAVES_RET, LEAVES_JUMP, LEAVES_MODE };

/*
 * A run of instructions of one function within one translation block.  What each of its executions asks for is in the
 * first of two cache lines.
 */
struct segment {
    uint32_t seen;           /* function */
    uint16_t n;              /* instructions */
    uint8_t entry;           /* 1: starts at the function's first instruction */
    uint8_t plain, follows;  /* see execute.c, segment_complete() */
    uint8_t class;           /* enum function_class */
    uint8_t tail;            /* INSN_IRET, _SYSRET, _HLT, _OUT: what ends the block here, else 0; INSN_MARKER: arming */
    uint8_t leaves;          /* enum leaves; LEAVES_NEXT without call stacks */
    bool called;             /* a call that comes here returns: a function's first instruction, and it keeps its return address */
    bool doubtful;           /* the last instruction may belong to the next block instead */
    uint8_t rep_size;
    uint64_t ret;            /* behind the call that ends it */
    uint64_t pc;             /* of its first instruction */
    uint64_t rep_pc;         /* address of the REP instruction that ends the block here, or 0 */
    struct hook *hook;       /* at its first instruction, or NULL */
    struct costly *costly;   /* costly instructions in it, or NULL */
    uint64_t before_last_pc, last_pc; /* of its last but one, and last instruction */
    const uint64_t *addresses; /* of its instructions, where one may access a device's memory; else NULL */
    bool begins_with_rep;
} __attribute__((aligned(64)));

/*
 * What QEMU hands to a segment's callback: which one it is, with what nearly every execution needs to know of it, so that
 * the segment itself, which is seldom in the host's nearest cache, need not be looked at.
 */
#define SEGMENTS (1u << 24)
enum { AT_FOLLOWS = 0, AT_ENTRY = 4, AT_SEGMENT = 7, AT_PLAIN = 31, AT_SEEN = 39, AT_N = 54, AT_END = 64 };
_Static_assert(sizeof(struct segment) == 1u << AT_SEGMENT && SEGMENTS <= 1u << (AT_PLAIN - AT_SEGMENT) &&
               LEDGER_FUNCTIONS <= 1u << (AT_N - AT_SEEN), "they fit");
extern struct segment *segments; /* SEGMENTS of them, used from the first one on */

static inline uint64_t at_part(uint64_t at, int from, int to)
{
    return at >> from & ((UINT64_C(1) << (to - from)) - 1);
}

static inline const struct segment *at_segment(uint64_t at)
{
    return (const struct segment *)((const char *)segments + (at & ((UINT64_C(1) << AT_PLAIN) - (1u << AT_SEGMENT))));
}

/* Whether its last instruction changes what the thread is doing. */
static inline bool changes_thread(const struct segment *s)
{
    return s->tail && s->tail != INSN_OUT;
}

/* What inline operations write. */
struct counters {
    uint64_t raw; /* instructions attempted since arming, corrected at faults */
};

extern struct wl_counters counters;
extern struct config config;
extern bool exact;
extern bool only_marks; /* hooks nothing but markers: what there is to compare the probe's cost with */

/* What the probe knows of one vCPU. */
struct vcpu {
    uint8_t number;
    struct counters *c;
    struct cell *row; /* a cell per function, or per node of call stacks */
    struct cell *cell; /* of what executes, in there */
    uint64_t row_of;   /* what the row is of, see ledger.h; 0: there is none yet */
    const struct segment *segment; /* being executed */
    uint8_t plain;                 /* what that is; NOT_PLAIN also in a row whose cells must be remembered */
    uint64_t last;                 /* raw at its beginning */
    uint64_t rep_pc;               /* of the block before, for REP instructions taken up again */
    uint64_t repeat_at;            /* raw at the beginning of the last repeat of a REP instruction */
    struct retry retry;            /* for the frame about to be pushed */
    uint64_t charged;              /* instructions of the segment that charge() has charged; only if it has costly ones */
    uint8_t last_costly;           /* class of the last instruction charged, if its segment has costly ones */
    struct thread *thread;
    uint64_t work_from; /* instructions up to when the thread's `work` was brought up to date */
    uint16_t phase;
    uint64_t rep_total;
    uint64_t idle_total, idle_uncharged;
    bool idle_by_device;
    bool silent; /* no events: nobody knows yet whether there will be a window */
    int64_t clock_zero;
    uint32_t marks_seen;  /* beginnings and ends of phases: see phases.c */
    uint64_t halted_at;   /* of several vCPUs: when the last HLT began */
    /* Call stacks: */
    uint32_t node; /* of the function that executes; NO_STACK without stacks */
    struct stack *stack;             /* the current thread's */
    const struct segment *resumed;   /* what had been interrupted, until the segment that goes on there has begun */
    bool resumed_whole, resumed_call; /* whether all of that had executed; whether a system call interrupted it */
    bool pending;                    /* the row is that of calls without a name */
    uint32_t n_touched;              /* its cells that may not be empty; more than there is room for: all may be */
    uint32_t touched[256];
} __attribute__((aligned(128))); /* two cache lines: none is shared with another vCPU */
extern struct vcpu vcpus[VCPUS];

/* state.c */
extern int32_t function_of[LEDGER_FUNCTIONS]; /* seen number -> function, -1 - pseudo function for those */
extern uint32_t n_seen; /* read it with functions_seen() where code may be translated meanwhile */

static inline uint32_t functions_seen(void)
{
    return __atomic_load_n(&n_seen, __ATOMIC_RELAXED);
}

/* Things that should not happen; any that did is in the summary. */
struct trouble {
    uint64_t rows, functions, frames, resync, switches, phases;
};
extern struct trouble trouble;
#define TROUBLE(what) __atomic_fetch_add(&trouble.what, 1, __ATOMIC_RELAXED)

/* The current phase's row for a role and an operation; cells that are thrown away if there is no room. */
struct cell *row_for(const struct vcpu *v, uint8_t role, uint16_t operation);

uint64_t clock_host(void);

/* Of one vCPU: instructions and idle.  Of several, which share no such clock: the host's ns since arming. */
static inline uint64_t time_now(const struct vcpu *v)
{
    return several() ? clock_host() : v->c->raw + v->idle_total;
}

static inline void put_at(struct vcpu *v, uint64_t time, enum event_kind kind, enum event_how how, uint16_t name,
                          int64_t value)
{
    if (!v->silent)
        events_put(&(struct event){.time = time, .thread = v->thread->index, .vcpu = v->number, .kind = (uint8_t)kind,
                                   .how = (uint8_t)how, .name = name, .value = value, .stack = v->node});
}

static inline void put(struct vcpu *v, enum event_kind kind, enum event_how how, uint16_t name, int64_t value)
{
    if (!v->silent)
        put_at(v, time_now(v), kind, how, name, value);
}

/* Which cell of its row is what executes, and which is a pseudo function as called from where a thread is. */
static inline uint32_t cell_here(const struct vcpu *v)
{
    return stacks ? v->node : v->segment->seen;
}

static inline uint32_t cell_of(const struct thread *t, uint32_t seen)
{
    return stacks ? stacks_pseudo(t, seen) : seen;
}

/* The row, and the cell in it, of what the current thread is doing. */
static inline void set_row(struct vcpu *v)
{
    const struct thread *t = v->thread;
    uint64_t of = row_of(v->phase, t->role, thread_operation(t));
    if (v->row_of != of) {
        v->row_of = of;
        v->row = row_for(v, t->role, (uint16_t)of);
        v->pending = (uint16_t)of == OP_PENDING;
        if (v->pending)
            v->plain = NOT_PLAIN;
    }
    v->cell = &v->row[cell_here(v)];
}

/* Remembers that the cell of what executes may not be empty, where that is of a call without a name. */
static inline void touch(struct vcpu *v)
{
    const uint32_t room = sizeof v->touched / sizeof *v->touched;
    if (likely(!v->pending))
        return;
    uint32_t here = (uint32_t)(v->cell - v->row);
    if (v->n_touched && v->n_touched <= room && v->touched[v->n_touched - 1] == here)
        return;
    if (v->n_touched < room)
        v->touched[v->n_touched] = here;
    v->n_touched += v->n_touched <= room;
}

/* Whether segment `s`, which began at raw `began`, was one more iteration of a REP instruction. */
static inline bool repeats(const struct vcpu *v, const struct segment *s, uint64_t began)
{
    return s->rep_pc && s->rep_pc == s->pc && v->repeat_at == began;
}

/* Counts costly instructions among the next `did` of segment `s`. */
static inline void charge_costly(struct vcpu *v, const struct segment *s, const struct cell *cell, uint64_t did)
{
    v->last_costly = costly_count(v->number, s->costly, cell, v->charged, v->charged + did);
    v->charged += did;
}

/* Charges what has executed since the last call. */
static inline void charge(struct vcpu *v)
{
    struct cell *cell = v->cell;
    cell->raw += v->c->raw - v->last;
    if (unlikely(v->segment->costly))
        charge_costly(v, v->segment, cell, v->c->raw - v->last);
    v->last = v->c->raw;
    touch(v);
}

/* clock.c; clock_host(): the host's ns since clock_arm() */
bool clock_find(void);    /* whether this QEMU lets its clock be read */
void clock_arm(void);     /* in the vCPU's thread */
int64_t clock_read(void); /* virtual ns at the last time the vCPU stopped; 0 where it cannot be read */
bool clock_known(void);
void clock_before_halt(struct qemu_plugin_insn *insn); /* it halts the vCPU: the clock is to be right by then */

/* context.c: what changes what the thread is doing */
void pending_ends(struct vcpu *v); /* what the thread did in a call of unknown name is `syscall`, whatever it does next */
void finish_tail(struct vcpu *v, uint8_t tail, const struct segment *s);
void faulted(struct vcpu *v, const struct segment *before, uint64_t began, uint64_t did, struct cell *cell);
void at_hook(struct vcpu *v, const struct segment *s, const struct segment *before);

/* execute.c: what runs when the guest does */
void segment_complete(struct segment *s); /* all else is known of it */
wl_exec_cb callback_of(struct segment *s, bool begins_with_rep);
void *segment_at(const struct segment *s); /* what its callback is to be given; it is complete */
/* A load or store that may be of a device's memory, by the instruction at address `pc`. */
void on_device(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *pc);

/* probe.c */
void probe_finish(struct vcpu *v, bool complete); /* writes what is known; nothing after that is of interest */

/* phases.c */
struct phase_point {
    uint16_t number;
    uint64_t raw, rep, idle;
    uint64_t cpu; /* ns of the host's that its thread has had: what the probe costs */
};
extern uint32_t n_marks;
/* A phase begins or ends, unless one has begun or none has. */
void phase_mark(struct vcpu *v, bool is_begin, uint16_t number);
/* Takes over what other vCPUs have marked. */
void phases_catch_up(struct vcpu *v);
static inline bool phases_behind(const struct vcpu *v)
{
    return v->marks_seen != __atomic_load_n(&n_marks, __ATOMIC_ACQUIRE);
}
/* Where a vCPU was at each beginning and end, once it has caught up. */
const struct phase_point *phase_points(const struct vcpu *v, uint32_t *n);

/* translate.c */
bool translate_init(void); /* false: no memory */
void translate(struct qemu_plugin_tb *tb, wl_exec_cb on_marker);

#endif
