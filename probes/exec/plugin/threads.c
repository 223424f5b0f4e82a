/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "threads.h"

#include "vcpus.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Open addressing from task address to thread; threads are never freed, so that an index stays one thread. */
static struct {
    uint64_t task;
    struct thread *thread;
} *slots;
static uint32_t n_slots, n_used;

static struct thread **threads;
static uint32_t n_threads, capacity;

static pthread_mutex_t table = PTHREAD_MUTEX_INITIALIZER; /* of all the above */

static uint32_t slot_of(uint64_t task)
{
    uint32_t i = (uint32_t)((task * 0x9e3779b97f4a7c15u) >> 32) & (n_slots - 1);
    while (slots[i].task && slots[i].task != task)
        i = (i + 1) & (n_slots - 1);
    return i;
}

static void grow(void)
{
    uint32_t old_n = n_slots;
    void *old = slots;
    struct {
        uint64_t task;
        struct thread *thread;
    } *o = old;
    n_slots = n_slots ? n_slots * 2 : 1024;
    slots = calloc(n_slots, sizeof *slots);
    if (!slots)
        abort();
    for (uint32_t i = 0; i < old_n; i++) {
        if (o[i].task) {
            uint32_t s = slot_of(o[i].task);
            slots[s].task = o[i].task;
            slots[s].thread = o[i].thread;
        }
    }
    free(old);
}

static void name(struct thread *t, uint64_t task)
{
    if (2 * n_used >= n_slots)
        grow();
    uint32_t s = slot_of(task);
    n_used += slots[s].task == 0;
    slots[s].task = task;
    slots[s].thread = t;
    t->task = task;
}

static struct thread *make(uint64_t task, uint8_t role)
{
    if (n_threads == capacity) {
        capacity = capacity ? capacity * 2 : 256;
        threads = realloc(threads, capacity * sizeof(struct thread *));
        if (!threads)
            abort();
    }
    struct thread *t = calloc(1, sizeof *t);
    if (!t)
        abort();
    t->index = n_threads;
    t->role = role;
    t->creator = -1;
    threads[n_threads++] = t;
    if (task)
        name(t, task);
    return t;
}

static struct thread *known(uint64_t task)
{
    return n_slots ? slots[slot_of(task)].thread : NULL;
}

void threads_name(struct thread *t, uint64_t task)
{
    lock(&table);
    name(t, task);
    unlock(&table);
}

struct thread *threads_new(uint64_t task, uint8_t role)
{
    lock(&table);
    struct thread *t = make(task, role);
    unlock(&table);
    return t;
}

struct thread *threads_known(uint64_t task)
{
    lock(&table);
    struct thread *t = known(task);
    unlock(&table);
    return t;
}

struct thread *threads_find(uint64_t task)
{
    lock(&table);
    struct thread *t = known(task);
    if (!t) {
        t = make(task, ROLE_KERNEL);
        t->process = -1;
    }
    unlock(&table);
    return t;
}

struct thread *threads_forget(uint64_t task)
{
    struct thread *forgotten = NULL;
    lock(&table);
    if (n_slots) {
        uint32_t s = slot_of(task);
        forgotten = slots[s].thread;
        if (slots[s].task)
            slots[s].thread = NULL;
    }
    unlock(&table);
    return forgotten;
}

void threads_let_go(struct thread *t)
{
    if (several())
        __atomic_store_n(&t->on, 0, __ATOMIC_RELEASE);
}

bool threads_try(struct thread *t, unsigned vcpu)
{
    if (!several())
        return true;
    uint8_t nobody = 0, mine = (uint8_t)(vcpu + 1);
    return __atomic_compare_exchange_n(&t->on, &nobody, mine, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED) ||
           nobody == mine;
}

bool threads_take(struct thread *t, unsigned vcpu)
{
    enum { SPINS = 100, NAPS = 2000, NAP_NS = 100000 }; /* 0.2 s at least: the host may not be running the other vCPU */
    for (int i = 0; i < SPINS + NAPS; i++) {
        if (threads_try(t, vcpu))
            return true;
        if (i >= SPINS)
            nanosleep(&(struct timespec){.tv_nsec = NAP_NS}, NULL);
    }
    return false;
}

uint32_t threads_count(void)
{
    lock(&table);
    uint32_t n = n_threads;
    unlock(&table);
    return n;
}

struct thread *threads_at(uint32_t index)
{
    lock(&table);
    struct thread *t = threads[index];
    unlock(&table);
    return t;
}
