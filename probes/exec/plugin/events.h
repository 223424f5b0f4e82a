/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The event log: fixed records, buffered, streamed to a file. */
#ifndef WL_EVENTS_H
#define WL_EVENTS_H

#include <stdbool.h>
#include <stdint.h>

/* The order is that of EVENT_KINDS in probes/events.py. */
enum event_kind {
    EV_PHASE_BEGIN, EV_PHASE_END, EV_OP_ENTER, EV_OP_EXIT, EV_SYSCALL_ENTER, EV_SYSCALL_EXIT, EV_SWITCH, EV_WAKE,
    EV_LOCK, EV_FAULT_ENTER, EV_FAULT_EXIT, EV_IRQ_ENTER, EV_IRQ_EXIT, EV_IDLE_BEGIN, EV_IDLE_END
};

struct event {
    uint64_t time;
    uint32_t thread;
    uint16_t kind, name;
    int64_t value;
};

bool events_open(const char *path);
void events_put(uint64_t time, uint32_t thread, enum event_kind kind, uint16_t name, int64_t value);
/* Flushes and closes; returns how many events could not be written. */
uint64_t events_close(void);

#endif
