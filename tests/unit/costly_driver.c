/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Part of plugin_driver.c: which costly instructions count, and how far a block does. */
#include "costly.h"
#include "state.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static struct vcpu *const v = vcpus;

void in_context(uint8_t role); /* plugin_driver.c */
int costly(bool is_exact, int n, char **steps); /* for plugin_driver.c */

struct qemu_plugin_hwaddr *qemu_plugin_get_hwaddr(qemu_plugin_meminfo_t info, uint64_t vaddr)
{
    static char of_a_device;
    return (void)info, vaddr ? (void *)&of_a_device : NULL;
}

/*
 * Segments with costly instructions, one letter per instruction: L locks, P pauses, I is IN, R a REP OUTS that ends its
 * block, . is nothing.  A step is a segment, then how many of its instructions are attempted; what follows says where:
 * u user code, k the kernel's, f a page fault's entry, r its IRET.  As in "u:100:LP.L:2": at address 100, two of four.  A
 * step without letters, "charge", charges in the middle of one; "device:101": the instruction there accesses a device.  Out: how many of each were counted.
 */
int costly(bool is_exact, int n, char **steps)
{
    static const uint8_t classes[128] = {['L'] = COSTLY_LOCK, ['P'] = COSTLY_PAUSE, ['I'] = COSTLY_IO, ['R'] = COSTLY_IO};
    static struct hook fault = {.kind = HOOK_FAULT, .name = 72};
    static const struct segment nothing = {.class = CLASS_APP};
    exact = is_exact;
    in_context(ROLE_MAIN);
    v->thread->user = v->thread->in_app = true;
    v->segment = &nothing;
    v->silent = true;
    set_row(v);
    segments = aligned_alloc(_Alignof(struct segment), (size_t)n * sizeof *segments);
    memset(segments, 0, (size_t)n * sizeof *segments);
    for (int i = 0; i < n; i++) {
        char where, letters[64];
        unsigned long pc, did;
        if (sscanf(steps[i], "%c:%lu:%63[^:]:%lu", &where, &pc, letters, &did) != 4) {
            if (sscanf(steps[i], "device:%lu", &pc) == 1)
                on_device(0, 0, 1, (void *)pc);
            else
                charge(v);
            continue;
        }
        struct segment *s = &segments[i];
        size_t length = strlen(letters);
        s->pc = pc;
        s->n = (uint16_t)length;
        s->last_pc = pc + length - 1;
        s->class = where == 'u' ? CLASS_APP : CLASS_KERNEL;
        s->hook = where == 'f' ? &fault : NULL;
        s->tail = where == 'r' ? INSN_IRET : 0;
        if (letters[length - 1] == 'R')
            s->rep_pc = s->last_pc;
        uint64_t *addresses = calloc(length, sizeof *addresses);
        s->addresses = addresses;
        for (size_t j = 0; j < length; j++)
            addresses[j] = pc + j;
        for (size_t j = 0; j < length; j++)
            if (classes[(int)letters[j]])
                costly_add((unsigned)j, classes[(int)letters[j]]);
        s->costly = costly_take();
        segment_complete(s);
        callback_of(s, letters[0] == 'R')(0, segment_at(s));
        v->c->raw += is_exact ? did : 0;
    }
    charge(v);
    FILE *f = tmpfile();
    uint64_t counts[COSTLY_CLASSES] = {0}, row[3];
    for (uint16_t operation = 0; operation < 80; operation++)
        costly_write(f, 0, (uint16_t[]){0, 0, 0}, 0, row_for(v, ROLE_MAIN, operation));
    rewind(f);
    while (fread(row, sizeof row, 1, f) == 1)
        counts[row[0] >> 48] += row[2];
    printf("%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", counts[COSTLY_LOCK], counts[COSTLY_PAUSE],
           counts[COSTLY_IO], v->c->raw);
    return 0;
}
