/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Plays threads that wait for locks to the plugin's locks.c, and says which events that makes; see test_exec_locks.py. */
#include "guest.h"
#include "locks.h"
#include "state.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define THREADS 8

#define OWN_FIRST 0x100000ull /* two pages, one that is not there, and 32 bytes */

static uint64_t pointer_at; /* of them, the one that has lock_here */
static uint64_t lock_here; /* what the register has */
static const char *memory; /* what lies at 0x1000, and a pointer to it wherever else one looks; NULL: nothing is mapped */

/* Stand in for guest.c and events.c. */
bool guest_register(unsigned vcpu, enum guest_register n, uint64_t *value)
{
    (void)vcpu;
    *value = lock_here - 16;
    return n == REG_RDI && lock_here;
}

bool guest_memory(unsigned vcpu, uint64_t addr, void *to, size_t n)
{
    (void)vcpu;
    static const uint64_t pointer = 0x1fd0;
    if (addr >= OWN_FIRST && addr + n <= OWN_FIRST + 0x3000 + 32) {
        if (addr / 0x1000 == OWN_FIRST / 0x1000 + 2)
            return false;
        memset(to, 0, n);
        if (pointer_at >= addr && pointer_at + 8 <= addr + n)
            memcpy((char *)to + (pointer_at - addr), &lock_here, sizeof lock_here);
        return true;
    }
    if (!memory)
        return false;
    if (addr < 0x1000 || addr >= 0x3000)
        return n == sizeof pointer && memcpy(to, &pointer, n);
    if (addr + n > 0x2000)
        return false; /* the next page is not there */
    char page[0x1000] = {0};
    strncpy(page + 0xfd0, memory, sizeof page - 0xfd0);
    return memcpy(to, page + addr - 0x1000, n);
}

struct log event_logs[VCPUS];
void events_context(struct log *l, const struct event *e)
{
    if (e->thread != l->thread)
        events_record(l, (struct record){.kind = LOG_THREAD, .value = l->thread = e->thread});
}
void events_flush(struct log *l)
{
    static uint32_t thread;
    for (const struct record *r = l->buffer; r < l->buffer + l->used; r++)
        if (r->kind == LOG_THREAD)
            thread = (uint32_t)r->value;
        else if (r->kind < EV_KINDS)
            printf("%s %u %u %" PRId64 " %u\n", r->kind == EV_LOCK ? "begin" : "end", thread, r->name, r->value, r->how);
    l->used = 0;
}

/*
 * Lines come in: a letter, a thread, a function, a lock.  L: waits for it; e: asks for it; w: waits in there; z: the
 * function returns; s: the thread stops; u: it leaves the kernel; q, Q: nobody listens any more, does again; n: the
 * kernel calls its locks so (the rest of the line); N: nothing of its memory is there; P: where the app's pointer to the
 * lock is; o, y: the thread is in an operation, in a system call of one (the app asks for its locks in 70).
 */
int main(void)
{
    static const uint8_t kinds[128] = {['L'] = HOOK_LOCK, ['e'] = HOOK_LOCK_ENTRY, ['w'] = HOOK_LOCK_WAIT, ['z'] = HOOK_LOCK_END};
    static struct counters count;
    static char name[128], line[256];
    struct thread *threads[THREADS];
    struct vcpu *v = vcpus;
    int64_t disp = LOCK_WITHOUT_NAME;
    v->c = &count;
    config.of_app[config.n_of_app++] = 70;
    config.kernel_first = 1ull << 63;
    config.kernel_last = UINT64_MAX;
    config.variables[config.n_variables++] = (struct range){OWN_FIRST + 4, OWN_FIRST + 0x3000 + 32};
    for (int i = 0; i < THREADS; i++)
        threads[i] = threads_new(0x1000 * (uint64_t)(i + 1), ROLE_APP);
    while (fgets(line, sizeof line, stdin)) {
        unsigned thread = 0, function = 0;
        sscanf(line + 1, "%u %u %" SCNu64, &thread, &function, &lock_here);
        v->thread = threads[thread % THREADS];
        struct hook h = {.kind = kinds[line[0] & 127], .name = (uint16_t)function, .disp = function & 1 ? LOCK_OF_USER : disp,
                         .source = {.n = 1, .reg = REG_RDI, .offsets = {16}}};
        if (line[0] == 'o' || line[0] == 'y') { /* it is in that operation; in a system call */
            v->thread->op = (uint16_t)function;
            v->thread->in_syscall = line[0] == 'y';
        } else if (line[0] == 'P')
            pointer_at = lock_here;
        else if (h.kind)
            lock_hook(v, &h);
        else if (line[0] == 's')
            v->thread->waits.stopped++;
        else if (line[0] == 'u')
            locks_left(v);
        else if (line[0] == 'q' || line[0] == 'Q')
            v->silent = line[0] == 'q';
        else if (line[0] == 'n' || line[0] == 'N') {
            line[strcspn(line, "\n")] = 0;
            memory = line[0] == 'n' ? strcpy(name, line + 2) : NULL;
            disp = 8;
        }
    }
    events_flush(event_logs);
    printf("lost %" PRIu64 "\n", trouble.resync);
    locks_write(stdout);
    printf("\n");
    return 0;
}
