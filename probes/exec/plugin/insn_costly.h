/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Instructions that are dear on hardware, by their bytes (Intel SDM vol. 2, AMD APM vol. 3; appendix A of either). */
#ifndef WL_INSN_COSTLY_H
#define WL_INSN_COSTLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What stands in front of the opcode.  A REX prefix counts only right before it, of F2 and F3 the last. */
struct insn_prefixes {
    bool rep, repz, repnz, o16, lock;
    uint8_t rex;
    size_t n; /* bytes */
};

static inline struct insn_prefixes insn_prefixes(const uint8_t *b, size_t n)
{
    struct insn_prefixes p = {0};
    for (; p.n < n; p.n++) {
        uint8_t c = b[p.n];
        if (c == 0xf2 || c == 0xf3) {
            p.rep = true;
            p.repz = c == 0xf3;
            p.repnz = c == 0xf2;
        } else if (c == 0x66) {
            p.o16 = true;
        } else if (c == 0xf0) {
            p.lock = true;
        } else if ((c & 0xf0) == 0x40) {
            p.rex = c;
            continue;
        } else if (c != 0x67 && (c & 0xe7) != 0x26 && (c & 0xfe) != 0x64) {
            break;
        }
        p.rex = 0;
    }
    return p;
}

/* Classes of costly instructions; the order is that of COSTLY_INSTRUCTIONS in probes/events.py. */
enum costly_class {
    COSTLY_NONE, COSTLY_SYSCALL, COSTLY_SYSRET, COSTLY_IRET, COSTLY_INT, COSTLY_SWAPGS, COSTLY_CR3, COSTLY_INVLPG,
    COSTLY_WRMSR, COSTLY_RDMSR, COSTLY_HLT, COSTLY_PAUSE, COSTLY_IO, COSTLY_MMIO, COSTLY_LOCK, COSTLY_XSAVE,
    COSTLY_CLASSES
};

/* 0f 01, by its ModRM byte. */
static inline uint8_t insn_costly_01(const struct insn_prefixes *p, uint8_t modrm)
{
    switch (modrm) {
    case 0xc6: /* wrmsrns */
        return p->rep || p->o16 ? COSTLY_NONE : COSTLY_WRMSR;
    case 0xc9: /* mwait */
    case 0xfb: /* mwaitx */
        return COSTLY_HLT;
    case 0xdf: /* invlpga */
        return COSTLY_INVLPG;
    case 0xf8:
        return COSTLY_SWAPGS;
    case 0xfe: /* invlpgb; with other prefixes it is of SEV-SNP */
        return p->rep || p->o16 ? COSTLY_NONE : COSTLY_INVLPG;
    }
    return modrm < 0xc0 && (modrm & 0x38) == 0x38 ? COSTLY_INVLPG : COSTLY_NONE;
}

/* Two-byte opcodes: `b` is what follows 0f.  That the ModRM byte is there is sure if the instruction is whole. */
static inline uint8_t insn_costly_0f(const struct insn_prefixes *p, const uint8_t *b, size_t n)
{
    uint8_t modrm = n > 1 ? b[1] : 0xc0, reg = modrm >> 3 & 7;
    bool memory = n > 1 && modrm < 0xc0, plain = !p->rep && !p->o16;
    switch (b[0]) {
    case 0x01:
        return n > 1 ? insn_costly_01(p, modrm) : COSTLY_NONE;
    case 0x05: /* syscall */
    case 0x34: /* sysenter */
        return COSTLY_SYSCALL;
    case 0x07: /* sysret */
    case 0x35: /* sysexit */
        return COSTLY_SYSRET;
    case 0x22:
        return n > 1 && reg == 3 && !(p->rex & 4) ? COSTLY_CR3 : COSTLY_NONE;
    case 0x30:
        return COSTLY_WRMSR;
    case 0x32:
        return COSTLY_RDMSR;
    case 0x38: /* invpcid */
        return n > 2 && b[1] == 0x82 && p->o16 && !p->rep && b[2] < 0xc0 ? COSTLY_INVLPG : COSTLY_NONE;
    case 0xae: /* fxsave, fxrstor; xsave, xrstor, xsaveopt, where no prefix makes something else of them */
        return memory && (reg < 2 || (plain && reg > 3 && reg < 7)) ? COSTLY_XSAVE : COSTLY_NONE;
    case 0xc7: /* xrstors, xsavec, xsaves */
        if (memory && plain && reg >= 3 && reg <= 5)
            return COSTLY_XSAVE;
        return p->lock && memory && reg == 1 ? COSTLY_LOCK : COSTLY_NONE; /* cmpxchg8b, cmpxchg16b */
    case 0xab: /* bts, btr, btc, cmpxchg, xadd */
    case 0xb0 ... 0xb1:
    case 0xb3:
    case 0xbb:
    case 0xc0 ... 0xc1:
        return p->lock && memory ? COSTLY_LOCK : COSTLY_NONE;
    case 0xba:
        return p->lock && memory && reg > 4 ? COSTLY_LOCK : COSTLY_NONE;
    }
    return COSTLY_NONE;
}

/* The class of an instruction whose opcode begins at `b`; MMIO depends on the address. */
static inline uint8_t insn_costly(const struct insn_prefixes *p, const uint8_t *b, size_t n)
{
    uint8_t modrm = n > 1 ? b[1] : 0xc0, reg = modrm >> 3 & 7;
    bool locked = p->lock && modrm < 0xc0;
    switch (b[0]) {
    case 0x0f:
        return n > 1 ? insn_costly_0f(p, b + 1, n - 1) : COSTLY_NONE;
    case 0x00 ... 0x01: /* add, or, adc, sbb, and, sub, xor */
    case 0x08 ... 0x09:
    case 0x10 ... 0x11:
    case 0x18 ... 0x19:
    case 0x20 ... 0x21:
    case 0x28 ... 0x29:
    case 0x30 ... 0x31:
        return locked ? COSTLY_LOCK : COSTLY_NONE;
    case 0x80 ... 0x81: /* the same with immediates, and cmp */
    case 0x83:
        return locked && reg < 7 ? COSTLY_LOCK : COSTLY_NONE;
    case 0x86 ... 0x87: /* xchg locks by itself */
        return modrm < 0xc0 ? COSTLY_LOCK : COSTLY_NONE;
    case 0xf6 ... 0xf7: /* not, neg */
        return locked && (reg == 2 || reg == 3) ? COSTLY_LOCK : COSTLY_NONE;
    case 0xfe ... 0xff: /* inc, dec */
        return locked && reg < 2 ? COSTLY_LOCK : COSTLY_NONE;
    case 0x6c ... 0x6f:
    case 0xe4 ... 0xe7:
    case 0xec ... 0xef:
        return COSTLY_IO;
    case 0x90: /* with REX.B it exchanges registers */
        return p->repz && !(p->rex & 1) ? COSTLY_PAUSE : COSTLY_NONE;
    case 0xcc ... 0xcd:
    case 0xf1:
        return COSTLY_INT;
    case 0xcf:
        return COSTLY_IRET;
    case 0xf4:
        return COSTLY_HLT;
    }
    return COSTLY_NONE;
}

/* Whether it is a load or store that neither ends a block nor calls a helper of QEMU's. */
static inline bool insn_moves(const uint8_t *b, size_t n)
{
    if (b[0] >= 0xa0 && b[0] <= 0xa3)
        return true;
    if (n < 2)
        return false;
    if (b[0] == 0x0f)
        return n > 2 && ((b[1] & 0xf6) == 0xb6) && b[2] < 0xc0;
    if (b[1] >= 0xc0)
        return false;
    return (b[0] >= 0x88 && b[0] <= 0x8b) || b[0] == 0x63 || (b[0] >= 0xc6 && b[0] <= 0xc7 && !(b[1] & 0x38));
}

#endif
