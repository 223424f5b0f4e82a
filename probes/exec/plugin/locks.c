/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "locks.h"

#include "guest.h"
#include "state.h"

#include <inttypes.h>
#include <string.h>

#define LOCKS 16384u /* a power of two: twice the most locks of which something is kept */
#define NAME_BYTES 63
#define SEARCHED (1 << 20) /* bytes of variables that are looked through, at most */
#define SEARCHES 1024

/* What is known of locks that were waited for. */
static struct known {
    uint64_t address; /* 0: free */
    uint64_t pointer; /* the address of a variable that points at it, or 0 */
    char name[NAME_BYTES + 1];
} locks[LOCKS];
static uint32_t n_locks, n_searches;
static pthread_mutex_t table = PTHREAD_MUTEX_INITIALIZER; /* of these */

/* Reads a text at `from`, never beyond what is mapped; false if it is none that can be shown. */
static bool read_text(unsigned vcpu, uint64_t from, char to[NAME_BYTES + 1])
{
    size_t used = 0;
    while (used < NAME_BYTES) {
        size_t n = 0x1000 - ((from + used) & 0xfff); /* to the page's end */
        if (n > NAME_BYTES - used)
            n = NAME_BYTES - used;
        if (!guest_memory(vcpu, from + used, to + used, n))
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
static struct known *new_lock(uint64_t address)
{
    uint32_t i = (uint32_t)((address * 0x9e3779b97f4a7c15u) >> 32) % LOCKS;
    while (locks[i].address && locks[i].address != address)
        i = (i + 1) % LOCKS;
    if (locks[i].address || n_locks == LOCKS / 2)
        return NULL;
    n_locks++;
    locks[i].address = address;
    return &locks[i];
}

/* Which of the app's variables points at a lock of its, if it is none of them itself; 0 for none. */
static uint64_t pointer_to(unsigned vcpu, uint64_t address)
{
    uint64_t words[512], left = SEARCHED;
    if (address >= config.kernel_first && address <= config.kernel_last)
        return 0;
    for (size_t i = 0; i < config.n_variables; i++)
        if (address >= config.variables[i].first && address < config.variables[i].end)
            return 0;
    for (size_t i = 0; i < config.n_variables && n_searches < SEARCHES; i++) {
        uint64_t at = (config.variables[i].first + 7) & ~(uint64_t)7, end = config.variables[i].end;
        while (at + sizeof words[0] <= end && left) {
            uint64_t n = sizeof words - at % sizeof words; /* to the page's end: it is there as a whole or not at all */
            n = n < end - at ? n : (end - at) & ~(uint64_t)7;
            n = n < left ? n : left;
            if (guest_memory(vcpu, at, words, n))
                for (uint64_t w = 0; w < n / sizeof words[0]; w++)
                    if (words[w] == address)
                        return at + w * sizeof words[0];
            at += n;
            left -= n;
        }
    }
    n_searches++;
    return 0;
}

/* Keeps what can be known of a lock, the first time that it is waited for. */
static void remember(unsigned vcpu, uint64_t address, int64_t name_at)
{
    uint64_t at;
    lock(&table);
    struct known *l = new_lock(address);
    if (l) {
        l->pointer = pointer_to(vcpu, address);
        if (name_at < 0 || !guest_memory(vcpu, address + (uint64_t)name_at, &at, sizeof at) ||
            !read_text(vcpu, at, l->name))
            l->name[0] = 0;
    }
    unlock(&table);
}

void locks_write(FILE *f)
{
    const char *before = "";
    fputc('[', f);
    for (const struct known *l = locks; l < locks + LOCKS; l++) {
        if (!l->name[0] && !l->pointer)
            continue;
        fprintf(f, "%s[%" PRIu64 ", \"", before, l->address);
        for (const char *p = l->name; *p; p++)
            fprintf(f, "%02x", (unsigned char)*p);
        fprintf(f, "\", %" PRIu64 "]", l->pointer);
        before = ", ";
    }
    fputc(']', f);
}

/* Whether the thread asks for a lock of the app's: the hook says so, or it is in libc for one and has not left user mode. */
static bool of_app(const struct thread *t, const struct hook *h)
{
    if (h->disp == LOCK_OF_USER)
        return true;
    for (size_t i = 0; i < config.n_of_app && !t->in_syscall && !t->n_frames; i++)
        if (t->op == config.of_app[i])
            return true;
    return false;
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
    *w = (struct wait){.function = h->name, .name_at = of_app(v->thread, h) ? LOCK_OF_USER : (int32_t)h->disp};
    if (!guest_find_value(v->number, &h->source, &w->lock))
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
    while (&all->open[all->n - 1] != w) { /* whoever waits in there has returned: how was not seen */
        TROUBLE(resync);
        end(v);
    }
    if (h->kind == HOOK_LOCK_END) {
        end(v);
    } else if (h->kind != HOOK_LOCK_ENTRY && !w->begun) { /* who is woken and waits again has not had it yet */
        if (w->lock)
            remember(v->number, w->lock, w->name_at);
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
