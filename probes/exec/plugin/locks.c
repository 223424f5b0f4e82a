/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "locks.h"

#include "guest.h"
#include "state.h"

#include <inttypes.h>
#include <string.h>

#define NAMES 16384u /* a power of two: the most locks whose names are kept */
#define NAME_BYTES 63

static struct {
    uint64_t lock; /* 0: free */
    char name[NAME_BYTES + 1];
} names[NAMES];
static uint32_t n_names;
static pthread_mutex_t table = PTHREAD_MUTEX_INITIALIZER; /* of these two */

/* Reads a text at `from`, never beyond what is mapped; false if it is none that can be shown. */
static bool read_text(uint64_t from, char to[NAME_BYTES + 1])
{
    size_t used = 0;
    while (used < NAME_BYTES) {
        size_t n = 0x1000 - ((from + used) & 0xfff); /* to the page's end */
        if (n > NAME_BYTES - used)
            n = NAME_BYTES - used;
        if (!guest_memory(from + used, to + used, n))
            return false;
        for (size_t end = used + n; used < end; used++) {
            if (!to[used])
                return used > 0;
            if (to[used] < ' ' || to[used] > '~')
                return false;
        }
    }
    to[used] = 0;
    return true;
}

/* The place of a new lock, or NULL for one that is there, and if there is no more room. */
static char *place_of(uint64_t address)
{
    uint32_t i = (uint32_t)((address * 0x9e3779b97f4a7c15u) >> 32) % NAMES;
    while (names[i].lock && names[i].lock != address)
        i = (i + 1) % NAMES;
    if (names[i].lock || n_names == NAMES / 2)
        return NULL;
    n_names++;
    names[i].lock = address;
    return names[i].name;
}

/* Keeps what the kernel calls a lock, the first time that it is waited for. */
static void remember_name(uint64_t address, int64_t offset)
{
    uint64_t at;
    lock(&table);
    char *name = place_of(address);
    if (name && (!guest_memory(address + (uint64_t)offset, &at, sizeof at) || !read_text(at, name)))
        name[0] = 0;
    unlock(&table);
}

void locks_write(FILE *f)
{
    bool first = true;
    fputc('[', f);
    for (uint32_t i = 0; i < NAMES; i++) {
        if (!names[i].lock || !names[i].name[0])
            continue;
        fprintf(f, "%s[%" PRIu64 ", \"", first ? "" : ", ", names[i].lock);
        for (const char *p = names[i].name; *p; p++)
            fprintf(f, "%02x", (unsigned char)*p);
        fputs("\"]", f);
        first = false;
    }
    fputc(']', f);
}

static void put_wait(struct vcpu *v, const struct wait *w, bool begins)
{
    enum event_how spent = v->thread->waits.stopped != w->stopped ? HOW_SLEPT : HOW_SPUN;
    put(v, begins ? EV_LOCK : EV_LOCK_END, !begins ? spent : w->name_at == LOCK_OF_USER ? HOW_USER : HOW_KERNEL, w->function,
        (int64_t)w->lock);
}

static void begin(struct vcpu *v, struct wait *w)
{
    w->begun = true;
    w->said = !v->silent;
    w->stopped = v->thread->waits.stopped;
    put_wait(v, w, true);
}

/* The innermost ends. */
static void end(struct vcpu *v)
{
    struct waits *all = &v->thread->waits;
    const struct wait *w = &all->open[--all->n];
    if (w->begun && w->said)
        put_wait(v, w, false);
}

static struct wait *ask(struct vcpu *v, const struct hook *h)
{
    struct waits *all = &v->thread->waits;
    if (all->n == WAITS) { /* how they ended was not seen */
        TROUBLE(resync);
        while (all->n)
            end(v);
    }
    struct wait *w = &all->open[all->n++];
    *w = (struct wait){.function = h->name, .name_at = (int32_t)h->disp};
    if (!guest_find_value(&h->source, &w->lock))
        w->lock = 0;
    return w;
}

/* The innermost that was asked for in a function, or NULL: that was before the probe was armed. */
static struct wait *asked_in(struct waits *all, uint16_t function)
{
    for (int i = all->n - 1; i >= 0; i--)
        if (all->open[i].function == function)
            return &all->open[i];
    return NULL;
}

void lock_hook(struct vcpu *v, struct hook *h)
{
    struct waits *all = &v->thread->waits;
    struct wait *w;
    if (h->kind == HOOK_LOCK || h->kind == HOOK_LOCK_ENTRY)
        w = ask(v, h);
    else
        w = asked_in(all, h->name);
    if (!w)
        return;
    if (h->kind == HOOK_LOCK_END) {
        while (&all->open[all->n - 1] != w) { /* whoever waits in there has returned as well */
            TROUBLE(resync);
            end(v);
        }
        end(v);
    } else if (h->kind != HOOK_LOCK_ENTRY && !w->begun) { /* who is woken and waits again has not had it yet */
        if (w->name_at >= 0 && w->lock)
            remember_name(w->lock, w->name_at);
        begin(v, w);
    }
}

void locks_left(struct vcpu *v)
{
    while (v->thread->waits.n) {
        TROUBLE(resync);
        end(v);
    }
}
