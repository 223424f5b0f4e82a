/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QEMU's plugin interface, declared by hand, and the only place that knows how its versions differ.
 *
 * No distribution packages qemu-plugin.h.  WL_API is the API number of the QEMU this copy is compiled for
 * (7.2: 1, 9.0: 2, 9.1: 3, 9.2 and 10.0: 4, 10.1: 5, 10.2: 6, 11: 7); probes/exec/build.py chooses it.
 *
 *   API 2  inline operations take a scoreboard entry instead of a pointer
 *   API 3  qemu_plugin_insn_data() copies instead of returning a pointer
 *   API 7  every callback has user data, and qemu_plugin_id_t is gone from their arguments
 */
/*
 * Memory callbacks only on instructions that do not end a block and call no helper: QEMU 7.2 keeps a stale pointer to
 * the callbacks of one that does (mended in 8.0, "tcg: Clear plugin_mem_cbs on TB exit"), and crashes at the next
 * flush.  The last instruction of a page ends a block: see translate.c.
 */
#ifndef WL_QEMU_API_H
#define WL_QEMU_API_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef WL_API
#error "compile with -DWL_API=<plugin API number of the QEMU in use>"
#endif

#define WL_EXPORT __attribute__((visibility("default")))

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_plugin_scoreboard;
typedef struct {
    struct qemu_plugin_scoreboard *score;
    size_t offset;
} qemu_plugin_u64;
typedef uint32_t qemu_plugin_meminfo_t;
typedef struct {
    const char *target_name;
    struct {
        int min, cur;
    } version;
    bool system_emulation;
    struct {
        int smp_vcpus, max_vcpus;
    } system;
} qemu_info_t;

enum { QEMU_PLUGIN_CB_NO_REGS = 0 };
enum { QEMU_PLUGIN_INLINE_ADD_U64 = 0 };
enum { QEMU_PLUGIN_MEM_R = 1, QEMU_PLUGIN_MEM_W = 2, QEMU_PLUGIN_MEM_RW = 3 };

typedef void (*wl_exec_cb)(unsigned vcpu, void *udata);
typedef void (*wl_mem_cb)(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *udata);

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb, wl_exec_cb cb, int flags, void *udata);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, wl_exec_cb cb, int flags, void *udata);
struct qemu_plugin_hwaddr;
struct qemu_plugin_hwaddr *qemu_plugin_get_hwaddr(qemu_plugin_meminfo_t info, uint64_t vaddr);
bool qemu_plugin_hwaddr_is_io(const struct qemu_plugin_hwaddr *haddr);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *insn, wl_mem_cb cb, int flags, int rw, void *udata);

#if WL_API < 2
void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *insn, int op, void *ptr, uint64_t imm);
#else
struct qemu_plugin_scoreboard *qemu_plugin_scoreboard_new(size_t element_size);
void *qemu_plugin_scoreboard_find(struct qemu_plugin_scoreboard *score, unsigned vcpu);
void qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(struct qemu_plugin_insn *insn, int op,
                                                         qemu_plugin_u64 entry, uint64_t imm);
#endif

#if WL_API < 3
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
#else
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *insn, void *dest, size_t len);
#endif

#if WL_API < 7
typedef void (*wl_trans_cb)(qemu_plugin_id_t id, struct qemu_plugin_tb *tb);
typedef void (*wl_reset_cb)(qemu_plugin_id_t id);
typedef void (*wl_exit_cb)(qemu_plugin_id_t id, void *udata);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, wl_trans_cb cb);
void qemu_plugin_reset(qemu_plugin_id_t id, wl_reset_cb cb);
#define WL_TRANS_ARGS qemu_plugin_id_t id, struct qemu_plugin_tb *tb
#define WL_RESET_ARGS qemu_plugin_id_t id
#define WL_EXIT_ARGS qemu_plugin_id_t id, void *udata
#define WL_UNUSED_TRANS (void)id
#define WL_UNUSED_RESET (void)id
#define WL_UNUSED_EXIT ((void)id, (void)udata)
#define wl_register_trans(id, cb) qemu_plugin_register_vcpu_tb_trans_cb(id, cb)
#define wl_reset(id, cb) qemu_plugin_reset(id, cb)
#else
typedef void (*wl_trans_cb)(struct qemu_plugin_tb *tb, void *udata);
typedef void (*wl_reset_cb)(void *udata);
typedef void (*wl_exit_cb)(void *udata);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, wl_trans_cb cb, void *udata);
void qemu_plugin_reset(qemu_plugin_id_t id, wl_reset_cb cb, void *udata);
#define WL_TRANS_ARGS struct qemu_plugin_tb *tb, void *udata
#define WL_RESET_ARGS void *udata
#define WL_EXIT_ARGS void *udata
#define WL_UNUSED_TRANS (void)udata
#define WL_UNUSED_RESET (void)udata
#define WL_UNUSED_EXIT (void)udata
#define wl_register_trans(id, cb) qemu_plugin_register_vcpu_tb_trans_cb(id, cb, NULL)
#define wl_reset(id, cb) qemu_plugin_reset(id, cb, NULL)
#endif
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id, wl_exit_cb cb, void *udata);

/*
 * vCPUs' counters live where inline operations can reach them: a scoreboard from API 2, at API 1 any one address, so
 * that there only those of a single vCPU are of use.  wl_counters_new() allocates `size` bytes for each of `n` vCPUs,
 * wl_counters_find() gives a vCPU's once it is there; wl_inline_add() adds `imm` to the u64 at `offset` in those of
 * the vCPU that is about to execute `insn`.
 */
struct wl_counters {
    void *base;
    size_t stride;
    struct qemu_plugin_scoreboard *score;
};

#if WL_API < 2
#include <stdlib.h>
static inline void wl_counters_new(struct wl_counters *c, size_t size, unsigned n)
{
    c->stride = (size + 127) & ~(size_t)127;
    c->base = aligned_alloc(128, n * c->stride);
    c->score = NULL;
}
static inline void *wl_counters_find(struct wl_counters *c, unsigned vcpu)
{
    return (char *)c->base + vcpu * c->stride;
}
static inline void wl_inline_add(struct wl_counters *c, struct qemu_plugin_insn *insn, size_t offset, uint64_t imm)
{
    qemu_plugin_register_vcpu_insn_exec_inline(insn, QEMU_PLUGIN_INLINE_ADD_U64, (char *)c->base + offset, imm);
}
#else
static inline void wl_counters_new(struct wl_counters *c, size_t size, unsigned n)
{
    (void)n; /* QEMU knows */
    c->score = qemu_plugin_scoreboard_new((size + 127) & ~(size_t)127);
    c->base = NULL;
}
static inline void *wl_counters_find(struct wl_counters *c, unsigned vcpu)
{
    return qemu_plugin_scoreboard_find(c->score, vcpu);
}
static inline void wl_inline_add(struct wl_counters *c, struct qemu_plugin_insn *insn, size_t offset, uint64_t imm)
{
    qemu_plugin_u64 entry = {c->score, offset};
    qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(insn, QEMU_PLUGIN_INLINE_ADD_U64, entry, imm);
}
#endif

/* Copies an instruction's bytes; returns its length, at most 15 (Intel SDM vol. 2, 2.3.11). */
static inline size_t wl_insn_bytes(const struct qemu_plugin_insn *insn, uint8_t bytes[16])
{
    size_t size = qemu_plugin_insn_size(insn);
    if (size > 15)
        size = 15;
#if WL_API < 3
    __builtin_memcpy(bytes, qemu_plugin_insn_data(insn), size);
#else
    size = qemu_plugin_insn_data(insn, bytes, size);
#endif
    return size;
}

#endif
