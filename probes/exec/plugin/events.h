/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The event log: records of one size, buffered, streamed to a file.  probes/exec/log.py reads it. */
#ifndef WL_EVENTS_H
#define WL_EVENTS_H

#include "vcpus.h"

#include <stdbool.h>
#include <stdint.h>

/* The order is that of EVENT_KINDS in probes/events.py. */
enum event_kind {
    EV_PHASE_BEGIN, EV_PHASE_END, EV_OP_ENTER, EV_OP_EXIT, EV_SYSCALL_ENTER, EV_SYSCALL_EXIT, EV_SWITCH, EV_WAKE,
    EV_LOCK, EV_FAULT_ENTER, EV_FAULT_EXIT, EV_IRQ_ENTER, EV_IRQ_EXIT, EV_IDLE_BEGIN, EV_IDLE_END, EV_LOCK_END,
    EV_THREAD_NEW, EV_THREAD_EXIT, EV_PACKET, EV_KINDS
};

/* The order is that of HOWS there. */
enum event_how {
    HOW_NONE, HOW_OK, HOW_FAILED, HOW_BLOCKED, HOW_PREEMPTED, HOW_YIELDED, HOW_EXITED, HOW_WOKEN, HOW_AWAKE, HOW_KERNEL,
    HOW_USER, HOW_SLEPT, HOW_SPUN, HOW_TIMER, HOW_DEVICE, HOW_IPI, HOW_SENT, HOW_RECEIVED, HOWS
};

#define NO_STACK 0xffffffffu

struct event {
    uint64_t time;
    int64_t value;
    uint32_t thread, stack;
    uint16_t name;
    uint8_t kind, how, vcpu;
};

/*
 * What is written of an event.  Its thread and stack are those of the one before in the log, unless a record of a kind
 * of its own says so first; the first one's are 0 and NO_STACK.
 */
struct record {
    uint32_t after; /* the one before, by this much */
    uint16_t name;
    uint8_t kind, how;
    int64_t value;
};
enum record_kind { LOG_TIME = 253, LOG_THREAD, LOG_STACK }; /* `value` is that from here on */

#define BUFFERED 4096u /* 64 KiB, which stay in the host's cache */
struct log {
    struct record buffer[BUFFERED];
    uint32_t used, thread, stack;
    uint64_t time, lost;
    int fd;
};
extern struct log event_logs[VCPUS];
void events_flush(struct log *l);
void events_context(struct log *l, const struct event *e); /* e is not of the same thread or stack, or much later */

static inline void events_record(struct log *l, struct record r)
{
    l->buffer[l->used++] = r;
    if (unlikely(l->used == BUFFERED))
        events_flush(l);
}

/* In the thread of its vCPU. */
static inline void events_put(const struct event *e)
{
    struct log *l = &event_logs[e->vcpu];
    if (unlikely(e->thread != l->thread || e->stack != l->stack || e->time - l->time > UINT32_MAX))
        events_context(l, e);
    uint32_t after = (uint32_t)(e->time - l->time);
    l->time = e->time;
    events_record(l, (struct record){after, e->name, e->kind, e->how, e->value});
}

/* A log for each vCPU: the first one's at `path`, those of others at `path`.1 and so on. */
bool events_open(const char *path);
/* Flushes and closes; returns how many events could not be written. */
uint64_t events_close(void);
uint64_t events_lost(unsigned vcpu); /* of these, one vCPU's */

#endif
