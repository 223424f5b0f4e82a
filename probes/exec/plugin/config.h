/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What probes/exec/configure.py tells the probe: the functions of kernel and app, and where to look. */
#ifndef WL_CONFIG_H
#define WL_CONFIG_H

#include "guest.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vcpus.h"

enum function_class {
    CLASS_KERNEL,
    CLASS_APP,
    CLASS_LIBC, /* and whatever else is in user mode */
    CLASS_STUB, /* a jump from one to another: whoever comes through it is still where he was */
};

struct function {
    uint64_t start, size;
    uint8_t class;
    bool devices; /* may touch those: see config.c */
    bool part; /* what follows a symbol inside a function: no entry at its start */
};

enum hook_kind {
    /* at the first instruction of something */
    HOOK_OP,           /* exported libc function: an operation, if the app calls it */
    HOOK_SYSCALL,      /* the kernel's system call entry */
    HOOK_SYSCALL_EXIT, /* a jump that ends a system call, in place of SYSRET */
    HOOK_HANDLER,      /* one system call's handler */
    HOOK_FAULT,        /* entry of an exception that restarts its instruction */
    HOOK_TRAP,         /* entry of an exception that does not */
    HOOK_IRQ,          /* entry of an interrupt */
    HOOK_DEVICE,       /* the same, of a device */
    HOOK_TIMER,        /* a timer interrupt's handler */
    HOOK_LOCK,         /* a function in which a thread waits for a lock */
    HOOK_LOCK_ENTRY,   /* a function in which one may wait */
    HOOK_LOCK_WAIT,    /* where it does, perhaps more than once */
    HOOK_LOCK_END,     /* where such a function ends */
    HOOK_PACKET,       /* what a packet goes through */
    HOOK_STOP_BEFORE,  /* whoever comes here enters the scheduler next, and says why */
    HOOK_STOP_ENTRY,   /* the scheduler, and why a thread stops of which nothing else is said */
    HOOK_STOP_INSIDE,  /* in there: why */
    /* at a memory access; the thread is the address accessed less `disp` */
    HOOK_SWITCH_OUT,
    HOOK_SWITCH_IN,
    HOOK_WAKE,
    HOOK_NEW,
    HOOK_READY,
    HOOK_PACKET_READ,  /* no thread: where the length of a packet is read */
    HOOK_KINDS
};

struct hook {
    uint64_t addr;
    uint8_t kind;
    uint16_t name; /* operation or event name, an index into configure.py's list of names */
    int64_t disp;  /* of an operation, system call or handler: enum result; of an interrupt or stop: enum event_how;
                    * of a lock, a packet: see locks.h, packets.h */
    struct source source;
    uint64_t fired[VCPUS];
};

/* Whether the processor itself comes there, at an interrupt or exception. */
static inline bool entered_by_interrupt(const struct hook *h)
{
    return h->kind >= HOOK_FAULT && h->kind <= HOOK_DEVICE;
}

enum trigger_kind { ARM_AT, OPEN_AT, CLOSE_AT, CLOSE_EXIT /* in the program's own process only */ };

struct trigger {
    uint64_t addr;
    uint8_t kind;
};

/* The window of a program that has no markers; without `given` markers decide. */
#define TRIGGERS 32
struct window {
    bool given;
    struct trigger triggers[TRIGGERS];
    size_t n_triggers;
    char open_line[256], close_line[256]; /* extended regular expressions; "" for none */
    uint16_t threads[8];                  /* the operations whose new threads are of the same process */
    size_t n_threads;                     /* 0: all are */
};

/* Functions of the kernel's by which a stack of user code begins anew, and is gone back to. */
#define SIGNALS 8
struct signals {
    uint64_t begins[SIGNALS], ends[SIGNALS];
    size_t n_begins, n_ends;
};

struct range {
    uint64_t first, end;
};

#define VARIABLES 16
struct config {
    uint32_t name_at; /* how far into a thread\'s object its name is, 0 if not known */
    uint64_t kernel_first, kernel_last; /* what is the kernel's, even where no function is known */
    bool shared;                        /* the app has its addresses in the same half, and may call the kernel */
    struct function *functions; /* sorted by start, not overlapping */
    size_t n_functions;
    struct hook *hooks; /* sorted by addr, one per addr */
    size_t n_hooks;
    struct range variables[VARIABLES]; /* the app's own, which may point at its locks */
    size_t n_variables;
    uint16_t of_app[16]; /* operations in which the app asks for its own locks, without a system call */
    size_t n_of_app;
    struct window window;
    struct signals signals;
};

/* Reads the configuration; on failure prints why on stderr and returns false. */
bool config_read(struct config *c, const char *path);
/* The index of the function at addr, or -1.  A function ends where its size ends. */
int config_function(const struct config *c, uint64_t addr);
struct hook *config_hook(const struct config *c, uint64_t addr);

#endif
