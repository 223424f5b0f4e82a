/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Threads' names, where the kernel has them. */
#ifndef WL_NAMES_H
#define WL_NAMES_H

#include <stdbool.h>
#include <stdio.h>

struct thread;

/*
 * A thread is about to run, or has just stopped, perhaps for ever: looks for its name, often enough to see a change and
 * seldom enough not to be noticed.
 */
void name_starts(unsigned vcpu, struct thread *t);
void name_stops(unsigned vcpu, struct thread *t, bool ends);
/* The probe is disarmed, and no vCPU runs but the one that says so: looks for the names of all threads. */
void names_look(unsigned vcpu);
/* Writes [role, process, creator, name in hexadecimal] of every thread, as JSON. */
void names_write(FILE *f);

#endif
