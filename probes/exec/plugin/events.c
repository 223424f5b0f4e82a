/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "events.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

struct log event_logs[VCPUS];

void events_flush(struct log *l)
{
    const char *p = (const char *)l->buffer;
    const struct record *end = l->buffer + l->used;
    size_t left = l->used * sizeof *end;
    while (left && l->fd >= 0) {
        ssize_t n = write(l->fd, p, left);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        p += n;
        left -= (size_t)n;
    }
    l->used = 0;
    if (!left)
        return;
    for (const struct record *r = end - (left + sizeof *r - 1) / sizeof *r; r < end; r++)
        l->lost += r->kind < LOG_TIME;
    if (l->fd >= 0)
        close(l->fd); /* the last event may be cut: what was written behind it, were there room again, would be garbled */
    l->fd = -1;
}

void events_context(struct log *l, const struct event *e)
{
    if (e->thread != l->thread)
        events_record(l, (struct record){.kind = LOG_THREAD, .value = e->thread});
    if (e->stack != l->stack)
        events_record(l, (struct record){.kind = LOG_STACK, .value = e->stack});
    if (e->time - l->time > UINT32_MAX) {
        events_record(l, (struct record){.kind = LOG_TIME, .value = (int64_t)e->time});
        l->time = e->time;
    }
    l->thread = e->thread;
    l->stack = e->stack;
}

bool events_open(const char *path)
{
    bool opened = true;
    for (unsigned i = 0; i < n_vcpus; i++) {
        char name[4096];
        snprintf(name, sizeof name, i ? "%s.%u" : "%s", path, i);
        event_logs[i].stack = NO_STACK;
        event_logs[i].fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        opened &= event_logs[i].fd >= 0;
    }
    return opened;
}

uint64_t events_close(void)
{
    uint64_t all = 0;
    for (unsigned i = 0; i < n_vcpus; i++) {
        struct log *l = &event_logs[i];
        events_flush(l);
        if (l->fd >= 0 && close(l->fd) != 0)
            l->lost++;
        l->fd = -1;
        all += l->lost;
    }
    return all;
}

uint64_t events_lost(unsigned vcpu)
{
    return event_logs[vcpu].lost;
}
