/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Looks into the guest: registers and memory, where this QEMU lets one. */
#ifndef WL_GUEST_H
#define WL_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The order is that of GDB's x86-64 target description. */
enum guest_register {
    REG_RAX, REG_RBX, REG_RCX, REG_RDX, REG_RSI, REG_RDI, REG_RBP, REG_RSP, REG_R8, REG_R9, REG_R10, REG_R11, REG_R12,
    REG_R13, REG_R14, REG_R15
};

/*
 * Where a value is found: a register plus the first offset; for each further one, the 8 bytes that lie there, plus that.
 */
#define SOURCE_OFFSETS 3
struct source {
    uint8_t n, reg; /* offsets; 0: nowhere */
    int32_t offsets[SOURCE_OFFSETS];
};

/* Whether this QEMU has what is needed. */
bool guest_find(void);
bool guest_readable(void);
/*
 * A register of a vCPU, by its own thread; so for the others.  It is right only in a callback at the first instruction
 * of a translation block (a function's entry, what follows a call, return, SYSRET or IRET): in the middle of one TCG
 * keeps registers to itself.
 */
bool guest_register(unsigned vcpu, enum guest_register n, uint64_t *value);
/* The flags, at such places; takes about as long as 10,000 instructions of the host's. */
bool guest_flags(unsigned vcpu, uint64_t *value);
/* Memory at an address of the current address space. */
bool guest_memory(unsigned vcpu, uint64_t addr, void *to, size_t n);
/* The value that a source tells of; the same holds as for registers.  False, and no value, if it cannot be had. */
static inline bool guest_find_value(unsigned vcpu, const struct source *s, uint64_t *value)
{
    uint64_t at;
    if (!s->n || !guest_register(vcpu, (enum guest_register)s->reg, &at))
        return false;
    at += (uint64_t)(int64_t)s->offsets[0];
    for (unsigned i = 1; i < s->n; i++) {
        if (!guest_memory(vcpu, at, &at, sizeof at))
            return false;
        at += (uint64_t)(int64_t)s->offsets[i];
    }
    *value = at;
    return true;
}

#endif
