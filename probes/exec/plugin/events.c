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
    size_t left = l->used * sizeof l->buffer[0];
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
    l->lost += (left + sizeof l->buffer[0] - 1) / sizeof l->buffer[0];
    if (l->fd >= 0)
        close(l->fd); /* the last event may be cut: what was written behind it, were there room again, would be garbled */
    l->fd = -1;
}

bool events_open(const char *path)
{
    bool opened = true;
    for (unsigned i = 0; i < n_vcpus; i++) {
        char name[4096];
        snprintf(name, sizeof name, i ? "%s.%u" : "%s", path, i);
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
