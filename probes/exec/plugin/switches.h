/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Threads: which one runs, why the one before stopped, who makes others go on. */
#ifndef WL_SWITCHES_H
#define WL_SWITCHES_H

#include <stdbool.h>
#include <stdint.h>

struct hook;
struct vcpu;

/* At a HOOK_STOP_*: the current thread comes by something that says why it will stop, if it does. */
void may_stop(struct vcpu *v, const struct hook *hook);
/* What the current thread does, as the name of a wake-up: an interrupt's own, else its operation. */
uint16_t waker_name(const struct vcpu *v);
/* At the accesses that tell threads apart; `vaddr` is the address accessed, `udata` the hook. */
void on_access(unsigned vcpu, uint32_t info, uint64_t vaddr, void *udata);

#endif
