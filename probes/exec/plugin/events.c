/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "events.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define BUFFERED 32768u

static struct event buffer[BUFFERED];
static uint32_t used;
static uint64_t lost;
static int fd = -1;

static void flush(void)
{
    const char *p = (const char *)buffer;
    size_t left = used * sizeof buffer[0];
    while (left && fd >= 0) {
        ssize_t n = write(fd, p, left);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        p += n;
        left -= (size_t)n;
    }
    used = 0;
    if (!left)
        return;
    lost += (left + sizeof buffer[0] - 1) / sizeof buffer[0];
    if (fd >= 0)
        close(fd); /* the last event may be cut: what was written behind it, were there room again, would be garbled */
    fd = -1;
}

bool events_open(const char *path)
{
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    return fd >= 0;
}

void events_put(const struct event *e)
{
    buffer[used++] = *e;
    if (used == BUFFERED)
        flush();
}

uint64_t events_close(void)
{
    flush();
    if (fd >= 0 && close(fd) != 0)
        lost++;
    fd = -1;
    return lost;
}
