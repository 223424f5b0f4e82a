/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "config.h"

#include "events.h"
#include "results.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool complain(const char *path, size_t line, const char *what)
{
    fprintf(stderr, "weaklink-exec: %s:%zu: %s\n", path, line, what);
    return false;
}

static uint8_t class_of(char letter)
{
    switch (letter) {
    case 'k':
        return CLASS_KERNEL;
    case 'a':
        return CLASS_APP;
    case 's':
        return CLASS_STUB;
    }
    return CLASS_LIBC;
}

/* A line that begins with `w`: what it says of the window; false if it says nothing. */
static bool window_line(struct window *w, char *text)
{
    static const char *const kinds[] = {"arm %" SCNx64, "open at %" SCNx64, "close at %" SCNx64, "close exit %" SCNx64};
    static const char open_line[] = "open line ", close_line[] = "close line ";
    uint64_t addr;
    unsigned name;
    text[strcspn(text, "\n")] = 0;
    if (sscanf(text, "thread %u", &name) == 1 && name < 0x8000 && w->n_threads < sizeof w->threads / sizeof *w->threads) {
        w->threads[w->n_threads++] = (uint16_t)name;
        return true;
    }
    w->given = true;
    for (unsigned kind = 0; kind < sizeof kinds / sizeof *kinds; kind++)
        if (w->n_triggers < TRIGGERS && sscanf(text, kinds[kind], &addr) == 1) {
            w->triggers[w->n_triggers++] = (struct trigger){addr, (uint8_t)kind};
            return true;
        }
    if (!strncmp(text, open_line, sizeof open_line - 1))
        return snprintf(w->open_line, sizeof w->open_line, "%s", text + sizeof open_line - 1) > 0;
    if (!strncmp(text, close_line, sizeof close_line - 1))
        return snprintf(w->close_line, sizeof w->close_line, "%s", text + sizeof close_line - 1) > 0;
    return false;
}

/* A line that begins with `v`: where the hook before finds its value. */
static bool source_line(struct config *c, const char *text)
{
    uint64_t addr;
    unsigned reg;
    int32_t at[SOURCE_OFFSETS] = {0};
    int n = sscanf(text, "%" SCNx64 " %u %" SCNd32 " %" SCNd32 " %" SCNd32, &addr, &reg, &at[0], &at[1], &at[2]) - 2;
    if (n < 1 || reg > REG_R15 || !c->n_hooks || c->hooks[c->n_hooks - 1].addr != addr)
        return false;
    struct source *s = &c->hooks[c->n_hooks - 1].source;
    *s = (struct source){.n = (uint8_t)n, .reg = (uint8_t)reg};
    memcpy(s->offsets, at, sizeof at);
    return true;
}

/* A line that begins with `s`: what it says of signals; false if it says nothing. */
static bool signal_line(struct signals *s, const char *text)
{
    uint64_t addr;
    if (sscanf(text, "begin %" SCNx64, &addr) == 1 && s->n_begins < SIGNALS) {
        s->begins[s->n_begins++] = addr;
        return true;
    }
    if (sscanf(text, "end %" SCNx64, &addr) == 1 && s->n_ends < SIGNALS) {
        s->ends[s->n_ends++] = addr;
        return true;
    }
    return false;
}

bool config_read(struct config *c, const char *path)
{
    static const char *const kinds[HOOK_KINDS] = {
        "op",    "syscall", "syscall-exit", "handler",    "fault",     "trap", "irq", "device",
        "timer", "lock",    "lock-entry",   "lock-wait",  "lock-end",  "packet",
        "stop-before", "stop-entry", "stop-inside", "switch-out", "switch-in", "wake", "new", "ready", "packet-read"};
    FILE *f = fopen(path, "r");
    if (!f)
        return complain(path, 0, "cannot be opened");
    char text[256];
    size_t line = 1, n_functions = 0, n_hooks = 0;
    if (!fgets(text, sizeof text, f) ||
        sscanf(text, "weaklink-exec 2 %zu %zu %" SCNx64 " %" SCNx64, &n_functions, &n_hooks, &c->kernel_first,
               &c->kernel_last) != 4 ||
        n_functions > 4000000 || n_hooks > 4000000) {
        fclose(f);
        return complain(path, 1, "not a configuration of this version");
    }
    c->shared = !(c->kernel_first >> 63);
    c->functions = calloc(n_functions + 1, sizeof *c->functions);
    c->hooks = calloc(n_hooks + 1, sizeof *c->hooks);
    const char *wrong = NULL;
    while (!wrong && fgets(text, sizeof text, f)) {
        line++;
        char class, devices = 0, kind[16];
        uint64_t a, b;
        int64_t disp;
        unsigned name;
        if (sscanf(text, "f %" SCNx64 " %" SCNx64 " %c%c", &a, &b, &class, &devices) >= 3 && c->n_functions < n_functions) {
            struct function *fn = &c->functions[c->n_functions++];
            bool part = class >= 'A' && class <= 'Z';
            class |= 0x20;
            *fn = (struct function){a, b, class_of(class), devices == 'd', part};
            if (c->n_functions > 1 && fn[-1].start + fn[-1].size > a)
                wrong = "functions overlap or are not sorted";
        } else if (sscanf(text, "h %15s %" SCNx64 " %u %" SCNd64, kind, &a, &name, &disp) == 4 &&
                   c->n_hooks < n_hooks && name < 0x8000) {
            struct hook *h = &c->hooks[c->n_hooks++];
            unsigned k = 0;
            while (k < HOOK_KINDS && strcmp(kind, kinds[k]))
                k++;
            *h = (struct hook){.addr = a, .kind = (uint8_t)k, .name = (uint16_t)name, .disp = disp};
            if (k == HOOK_KINDS)
                wrong = "unknown kind of hook";
            else if (k >= HOOK_LOCK && k <= HOOK_PACKET && (disp < -2 || disp > INT32_MAX))
                wrong = "a lock's or a packet's number is none";
            else if ((k == HOOK_OP || k == HOOK_SYSCALL || k == HOOK_HANDLER) && (disp < 0 || disp >= RESULTS))
                wrong = "a result is none";
            else if (((k >= HOOK_IRQ && k <= HOOK_DEVICE) || (k >= HOOK_STOP_BEFORE && k <= HOOK_STOP_INSIDE)) &&
                     (disp < 0 || disp >= HOWS))
                wrong = "an event is of no class";
            else if (c->n_hooks > 1 && h[-1].addr >= a)
                wrong = "hooks are not sorted, or two stand at one address";
        } else if (sscanf(text, "o %" SCNx64 " %" SCNx64, &a, &b) == 2 && a < b && c->n_variables < VARIABLES) {
            c->variables[c->n_variables++] = (struct range){a, b};
        } else if (sscanf(text, "n %" SCNu32, &c->name_at) == 1 && c->name_at && c->name_at < 1 << 16) {
            continue;
        } else if (sscanf(text, "u %u", &name) == 1 && name < 0x8000 &&
                   c->n_of_app < sizeof c->of_app / sizeof *c->of_app) {
            c->of_app[c->n_of_app++] = (uint16_t)name;
        } else if (!strncmp(text, "v ", 2)) {
            if (!source_line(c, text + 2))
                wrong = "a place to look at is none";
        } else if (!strncmp(text, "s ", 2)) {
            if (!signal_line(&c->signals, text + 2))
                wrong = "not understood";
        } else if (strncmp(text, "w ", 2) || !strchr(text, '\n') || !window_line(&c->window, text + 2)) {
            wrong = "not understood";
        }
    }
    fclose(f);
    if (!wrong && (c->n_functions != n_functions || c->n_hooks != n_hooks))
        wrong = "fewer lines than announced";
    return wrong ? complain(path, line, wrong) : true;
}

int config_function(const struct config *c, uint64_t addr)
{
    size_t lo = 0, hi = c->n_functions;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (c->functions[mid].start <= addr)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo && addr - c->functions[lo - 1].start < c->functions[lo - 1].size ? (int)(lo - 1) : -1;
}

struct hook *config_hook(const struct config *c, uint64_t addr)
{
    size_t lo = 0, hi = c->n_hooks;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (c->hooks[mid].addr < addr)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < c->n_hooks && c->hooks[lo].addr == addr ? &c->hooks[lo] : NULL;
}
