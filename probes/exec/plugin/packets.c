/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "packets.h"

#include "guest.h"
#include "state.h"

#define LARGEST (1 << 24) /* what says more of itself is no packet */

static void put_packet(struct vcpu *v, const struct hook *h, bool known, uint64_t length_at)
{
    int32_t bytes;
    if (!known || !guest_memory(v->number, length_at, &bytes, sizeof bytes) || bytes < 0 || bytes > LARGEST)
        bytes = -1;
    put(v, EV_PACKET, h->disp ? HOW_RECEIVED : HOW_SENT, h->name, bytes);
}

void packet_hook(struct vcpu *v, const struct hook *h)
{
    uint64_t at = 0;
    bool known = guest_find_value(v->number, &h->source, &at);
    put_packet(v, h, known, at);
}

void packet_read(struct vcpu *v, const struct hook *h, uint64_t at)
{
    put_packet(v, h, true, at);
}
