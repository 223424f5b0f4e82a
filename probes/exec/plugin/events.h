/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The event log: fixed records, buffered, streamed to a file. */
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
    uint8_t unused[3];
};

#define BUFFERED 4096u /* 128 KiB, which stay in the host's cache */
struct log {
    struct event buffer[BUFFERED];
    uint32_t used;
    uint64_t lost;
    int fd;
};
extern struct log event_logs[VCPUS];
void events_flush(struct log *l);

/* A log for each vCPU: the first one's at `path`, those of others at `path`.1 and so on. */
bool events_open(const char *path);
/* In the thread of its vCPU. */
static inline void events_put(const struct event *e)
{
    struct log *l = &event_logs[e->vcpu];
    l->buffer[l->used++] = *e;
    if (unlikely(l->used == BUFFERED))
        events_flush(l);
}
/* Flushes and closes; returns how many events could not be written. */
uint64_t events_close(void);
uint64_t events_lost(unsigned vcpu); /* of these, one vCPU's */

#endif
