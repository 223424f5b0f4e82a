/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Executes segments of one instruction that standard input tells of, and says which functions are on the stack then; see
 * test_exec_stacks.py.  A line is "s PC FUNCTION ENTRY LEAVES RET USER HOOK", HOOK being - s(yscall) i(nterrupt)
 * e(xception), or "t OLD NEW": the thread of one task is switched to another's.
 */
#include "switches.h"
#include "state.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void path(uint32_t node)
{
    if (nodes[node].parent)
        path(nodes[node].parent);
    printf("%u ", nodes[node].function);
}

enum { MOST = 65536 };

int main(void)
{
    static struct hook system_call = {.kind = HOOK_SYSCALL}, interrupt = {.kind = HOOK_IRQ}, fault = {.kind = HOOK_TRAP};
    static struct hook out = {.kind = HOOK_SWITCH_OUT}, in = {.kind = HOOK_SWITCH_IN};
    static struct counters count;
    static const struct segment nothing = {.class = CLASS_APP};
    struct vcpu *v = vcpus;
    char line[256], hook;
    stacks = exact = true;
    ledger_set_width(NODES);
    if (!stacks_init())
        return 1;
    segments = aligned_alloc(_Alignof(struct segment), MOST * sizeof *segments);
    if (!segments)
        return 1;
    v->c = &count;
    v->silent = true;
    v->phase = NO_PHASE;
    v->thread = threads_new(0, ROLE_MAIN);
    v->thread->user = v->thread->in_app = true;
    v->segment = &nothing;
    stacks_switch(v);
    set_row(v);
    while (fgets(line, sizeof line, stdin)) {
        uint64_t pc, ret;
        unsigned function, entry, leaves, user;
        if (sscanf(line, "t %" SCNx64 " %" SCNx64, &pc, &ret) == 2) {
            on_access(0, 0, pc, &out);
            on_access(0, 0, ret, &in);
        } else if (sscanf(line, "s %" SCNx64 " %u %u %u %" SCNx64 " %u %c", &pc, &function, &entry, &leaves, &ret, &user,
                          &hook) == 7) {
            static uint32_t n;
            if (n == MOST)
                return 3;
            struct segment *s = &segments[n++];
            *s = (struct segment){.pc = pc, .last_pc = pc, .seen = function, .n = 1, .entry = (uint8_t)entry,
                                  .called = entry, .leaves = (uint8_t)leaves, .ret = ret,
                                  .class = user ? CLASS_APP : CLASS_KERNEL};
            s->hook = hook == 's' ? &system_call : hook == 'i' ? &interrupt : hook == 'e' ? &fault : NULL;
            s->tail = leaves == LEAVES_MODE ? INSN_IRET : 0;
            segment_complete(s);
            callback_of(s, false)(0, segment_at(s));
            v->c->raw++;
        } else {
            return 2;
        }
        path(v->node);
        printf("\n");
    }
    printf("%" PRIu64 " %" PRIu64 " %" PRIu64 "\n", stacks_seen.resync, stacks_seen.unwound, trouble.resync);
    return 0;
}
