/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "names.h"

#include "guest.h"
#include "state.h"

#include <inttypes.h>
#include <string.h>

/* What does not end within its field, or cannot be read, is no name: the one known before stands. */
static void look(unsigned vcpu, struct thread *t)
{
    char name[THREAD_NAME];
    if (!config.name_at || !t->task || !guest_memory(vcpu, t->task + config.name_at, name, sizeof name))
        return;
    size_t n = strnlen(name, sizeof name);
    if (n && n < sizeof name)
        memcpy(t->name, name, n + 1);
}

void name_starts(unsigned vcpu, struct thread *t)
{
    if (!t->name[0])
        look(vcpu, t);
}

void name_stops(unsigned vcpu, struct thread *t, bool ends)
{
    t->n_stops++;
    if (ends || !(t->n_stops & (t->n_stops - 1)))
        look(vcpu, t);
    t->ended |= ends;
}

void names_look(unsigned vcpu)
{
    for (uint32_t i = 0; i < threads_count(); i++) {
        struct thread *t = threads_at(i);
        if (!t->ended && t->task && threads_known(t->task) == t)
            look(vcpu, t);
    }
}

void names_write(FILE *f)
{
    fputc('[', f);
    for (uint32_t i = 0; i < threads_count(); i++) {
        const struct thread *t = threads_at(i);
        fprintf(f, "%s[%u, %" PRId32 ", %" PRId32 ", \"", i ? ", " : "", t->role, t->process, t->creator);
        for (const char *p = t->name; *p; p++)
            fprintf(f, "%02x", (unsigned char)*p);
        fputs("\"]", f);
    }
    fputc(']', f);
}
