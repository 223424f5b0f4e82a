/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The window of a program that knows nothing of markers: opened and closed where the configuration says, at the first
 * execution of an address, at a line on the console, or at the program's end.
 *
 * The console is QEMU's own log of it, to which every character is written while the guest's OUT executes: the segment
 * after one with an OUT finds it there.
 */
#include "window.h"

#include "state.h"

#include <fcntl.h>
#include <regex.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { WINDOW_NUMBER = 1, LINE = 4096 };

static struct window_state state;
static regex_t open_line, close_line;
static int console = -1;
static off_t console_read;
static char line[LINE + 1];
static size_t line_used;
static pthread_mutex_t watching = PTHREAD_MUTEX_INITIALIZER; /* of all the above */
static bool opens_at_once; /* where the probe was armed is where the window opens */

static bool compile(regex_t *compiled, const char *pattern)
{
    return !*pattern || regcomp(compiled, pattern, REG_EXTENDED | REG_NOSUB) == 0;
}

bool window_prepare(const char *console_path)
{
    const struct window *w = &config.window;
    if (!compile(&open_line, w->open_line) || !compile(&close_line, w->close_line)) {
        fprintf(stderr, "weaklink-exec: a line to wait for is no regular expression\n");
        return false;
    }
    if (!window_listens())
        return true;
    if (console_path)
        console = open(console_path, O_RDONLY | O_CLOEXEC);
    if (console < 0)
        fprintf(stderr, "weaklink-exec: the console's log cannot be read\n");
    return console >= 0;
}

bool window_listens(void)
{
    return *config.window.open_line || *config.window.close_line;
}

static const struct trigger *find(uint64_t addr, bool arming)
{
    for (size_t i = 0; i < config.window.n_triggers; i++) {
        const struct trigger *t = &config.window.triggers[i];
        if (t->addr == addr && (t->kind == ARM_AT) == arming)
            return t;
    }
    return NULL;
}

bool window_arms_at(uint64_t addr)
{
    return find(addr, true) != NULL;
}

const struct trigger *window_trigger(uint64_t addr)
{
    return find(addr, false);
}

static void open_it(struct vcpu *v)
{
    if (state.opened)
        return;
    state.opened = true;
    phase_mark(v, true, WINDOW_NUMBER);
}

static void close_it(struct vcpu *v)
{
    if (!state.opened || state.closed)
        return;
    state.closed = true;
    phase_mark(v, false, WINDOW_NUMBER);
    probe_finish(v, true);
}

void window_armed_at(uint64_t addr)
{
    state.armed = true;
    if (console >= 0)
        console_read = lseek(console, 0, SEEK_END);
    for (size_t i = 0; i < config.window.n_triggers; i++) {
        const struct trigger *t = &config.window.triggers[i];
        opens_at_once |= t->addr == addr && t->kind == OPEN_AT;
    }
}

void window_first_block(struct vcpu *v)
{
    lock(&watching);
    if (opens_at_once)
        open_it(v);
    unlock(&watching);
}

static void reached(struct vcpu *v, uint64_t addr)
{
    bool was_open = state.opened; /* what opens it does not close it as well */
    for (size_t i = 0; i < config.window.n_triggers; i++) {
        const struct trigger *t = &config.window.triggers[i];
        if (t->addr != addr)
            continue;
        if (t->kind == OPEN_AT)
            open_it(v);
        else if (was_open && (t->kind == CLOSE_AT || (t->kind == CLOSE_EXIT && v->thread->process <= 0)))
            close_it(v);
    }
}

void window_reached(struct vcpu *v, uint64_t addr)
{
    lock(&watching);
    reached(v, addr);
    unlock(&watching);
}

static void ended(struct vcpu *v)
{
    for (size_t i = 0; i < config.window.n_triggers; i++)
        if (config.window.triggers[i].kind == CLOSE_EXIT) {
            close_it(v);
            break;
        }
    if (!state.closed)
        probe_finish(v, true); /* and the summary says that it did not open, or not close */
}

void window_ended(struct vcpu *v)
{
    lock(&watching);
    ended(v);
    unlock(&watching);
}

static void line_complete(struct vcpu *v)
{
    if (line_used && line[line_used - 1] == '\r')
        line_used--;
    line[line_used] = 0;
    line_used = 0;
    bool was_open = state.opened;
    if (!was_open && *config.window.open_line && !regexec(&open_line, line, 0, NULL, 0))
        open_it(v);
    else if (was_open && *config.window.close_line && !regexec(&close_line, line, 0, NULL, 0))
        close_it(v);
}

static void listen(struct vcpu *v)
{
    char text[4096];
    ssize_t n;
    while (console >= 0 && (n = pread(console, text, sizeof text, console_read)) > 0) {
        console_read += n;
        for (ssize_t i = 0; i < n; i++) {
            if (text[i] != '\n' && text[i])
                line[line_used++] = text[i];
            if (text[i] == '\n' || line_used == LINE)
                line_complete(v);
        }
    }
}

void window_listen(struct vcpu *v)
{
    lock(&watching);
    listen(v);
    unlock(&watching);
}

const struct window_state *window_state(void)
{
    return &state;
}
