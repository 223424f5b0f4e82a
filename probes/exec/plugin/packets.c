/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "packets.h"

#include "guest.h"
#include "state.h"

#define LARGEST (1 << 24) /* what says more of itself is no packet */

void packet_hook(struct vcpu *v, const struct hook *h)
{
    uint64_t at;
    int32_t bytes;
    if (!guest_find_value(&h->source, &at) || !guest_memory(at, &bytes, sizeof bytes) || bytes < 0 || bytes > LARGEST)
        bytes = -1;
    put(v, EV_PACKET, h->disp ? HOW_RECEIVED : HOW_SENT, h->name, bytes);
}
