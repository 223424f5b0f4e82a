/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Windows that are opened and closed from outside the program; see window.c and the `w` lines of the configuration. */
#ifndef WL_WINDOW_H
#define WL_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

struct trigger;
struct vcpu;

struct window_state {
    bool armed, opened, closed;
};

/* Makes ready for what the configuration says; `console` is QEMU's log of the console.  False: said why on stderr. */
bool window_prepare(const char *console);
/* Whether lines on the console matter. */
bool window_listens(void);
/* Whether the first execution of the instruction at `addr` arms the probe. */
bool window_arms_at(uint64_t addr);
/* What else the instruction at `addr` means, or NULL. */
const struct trigger *window_trigger(uint64_t addr);

void window_armed_at(uint64_t addr);
void window_first_block(struct vcpu *v); /* the first instrumented block begins */
void window_reached(struct vcpu *v, uint64_t addr); /* the instruction at `addr` is about to execute */
void window_listen(struct vcpu *v);/* something may have been written to the console */
void window_ended(struct vcpu *v); /* the program is over, whatever was seen of that */

const struct window_state *window_state(void);

#endif
