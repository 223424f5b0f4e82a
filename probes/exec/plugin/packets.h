/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef WL_PACKETS_H
#define WL_PACKETS_H

#include <stdint.h>

struct vcpu;
struct hook;

/* A packet is where packets leave (the hook's `disp` is 0) or arrive (1). */
void packet_hook(struct vcpu *v, const struct hook *h);
/* The same, where a packet's length is read, at that address. */
void packet_read(struct vcpu *v, const struct hook *h, uint64_t at);

#endif
