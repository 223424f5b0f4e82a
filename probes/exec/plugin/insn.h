/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The little that must be known of an x86-64 instruction, from its bytes (Intel SDM vol. 2, 2.1 and appendix A). */
#ifndef WL_INSN_H
#define WL_INSN_H

#include "insn_costly.h"

enum insn_kind { INSN_OTHER, INSN_REP, INSN_IRET, INSN_SYSRET, INSN_HLT, INSN_MARKER, INSN_OUT };

/* How it goes on behind an instruction, where that is not the next one or a fixed place. */
enum insn_flow { FLOW_NEXT, FLOW_CALL, FLOW_RET, FLOW_JUMP };

struct insn_info {
    uint8_t kind;
    uint8_t flow;
    uint8_t rep_size; /* bytes per iteration of a REP instruction */
    uint8_t marker;   /* NN of nopl 0x5eed00NN(%rax) */
    bool drops;       /* add $8,%rsp: at a function's beginning that is the end of its return address */
    bool quiet;       /* accesses no memory and raises no exception: if it begins, it completes */
    uint8_t costly;   /* enum costly_class */
    bool moves;       /* a plain load or store: MOV, MOVZX, MOVSX with memory */
};

/* Whether opcode `op` (after prefixes and REX) with ModRM byte `modrm` is one of the common quiet ones. */
static inline bool insn_is_quiet(uint8_t op, uint8_t next, uint8_t modrm2)
{
    bool registers = next >= 0xc0;
    switch (op) {
    case 0x00 ... 0x0e:
    case 0x10 ... 0x3f: /* ALU: r/m forms, then immediate to the accumulator; the rest is prefixes or invalid */
        return (op & 7) < 4 ? registers : (op & 7) < 6;
    case 0x63:
    case 0x80 ... 0x81:
    case 0x83 ... 0x8b:
    case 0xc0 ... 0xc1:
    case 0xd0 ... 0xd3:
    case 0xfe:
        return registers;
    case 0x8d: /* lea */
    case 0x90:
    case 0x98 ... 0x99:
    case 0xa8 ... 0xa9:
    case 0xb0 ... 0xbf:
    case 0x70 ... 0x7f:
    case 0xe9:
    case 0xeb:
        return true;
    case 0xc6 ... 0xc7:
        return registers && (next & 0x38) == 0; /* not xabort, xbegin */
    case 0xf6 ... 0xf7:
        return registers && (next & 0x30) != 0x30; /* not div, idiv */
    case 0x0f:
        if (next == 0x1f || (next & 0xf0) == 0x80) /* nop, jcc */
            return true;
        return ((next & 0xf0) == 0x40 || (next & 0xf0) == 0x90 || (next & 0xf6) == 0xb6) && modrm2 >= 0xc0;
    }
    return false;
}

static inline struct insn_info insn_decode(const uint8_t *b, size_t n)
{
    struct insn_info r = {.kind = INSN_OTHER};
    if (n == 7 && b[0] == 0x0f && b[1] == 0x1f && b[2] == 0x80 && b[4] == 0x00 && b[5] == 0xed && b[6] == 0x5e) {
        r.kind = INSN_MARKER;
        r.marker = b[3];
        return r;
    }
    r.drops = n == 4 && b[0] == 0x48 && b[1] == 0x83 && b[2] == 0xc4 && b[3] == 0x08;
    struct insn_prefixes p = insn_prefixes(b, n);
    size_t i = p.n;
    if (i >= n)
        return r;
    uint8_t op = b[i], next = i + 1 < n ? b[i + 1] : 0;
    r.quiet = insn_is_quiet(op, next, i + 2 < n ? b[i + 2] : 0);
    r.costly = insn_costly(&p, b + i, n - i);
    r.moves = insn_moves(b + i, n - i);
    switch (op) {
    case 0x6c ... 0x6f:
    case 0xa4 ... 0xa7:
    case 0xaa ... 0xaf:
        if (p.rep) {
            r.kind = INSN_REP;
            r.rep_size = !(op & 1) ? 1 : (p.rex & 8) && op > 0x6f ? 8 : p.o16 ? 2 : 4; /* INS, OUTS: at most 4 */
        }
        break;
    case 0xe6 ... 0xe7:
        if (i + 1 < n)
            r.kind = INSN_OUT;
        break;
    case 0xee ... 0xef:
        r.kind = INSN_OUT;
        break;
    case 0xc2 ... 0xc3:
    case 0xca ... 0xcb:
        r.flow = FLOW_RET;
        break;
    case 0xe8:
        r.flow = FLOW_CALL;
        break;
    case 0xff:
        if ((next & 0x38) == 0x10 || (next & 0x38) == 0x18)
            r.flow = FLOW_CALL;
        else if ((next & 0x38) == 0x20 || (next & 0x38) == 0x28)
            r.flow = FLOW_JUMP;
        break;
    case 0xcf:
        r.kind = INSN_IRET;
        break;
    case 0xf4:
        r.kind = INSN_HLT;
        break;
    case 0x0f:
        if (next == 0x07)
            r.kind = INSN_SYSRET;
        else if (next == 0x01 && i + 2 < n && (b[i + 2] == 0xc9 || b[i + 2] == 0xfb))
            r.kind = INSN_HLT; /* MWAIT, MWAITX: with one vCPU there is nobody to write to what it monitors */
        break;
    }
    return r;
}

#endif
