/* SPDX-License-Identifier: MIT */
/*
 * What is another thing on every kernel: a file for each in the folder of its name (linux/ also serves OSv, which runs
 * the same programs).  All else is POSIX.
 */
#ifndef APP_SYSTEM_H
#define APP_SYSTEM_H

#include <stddef.h>

/* As PID 1: file systems (memory at /tmp), loopback.  Else nothing.  What fails here shows in what needs it. */
void app_system_start(void);

/* The lines "weaklink: guest KEY VALUE" that only this kernel can tell; what cannot be read is "unknown". */
void app_system_report(void);

/* Pages of the smallest size for this memory from now on, where the kernel would choose. */
void app_system_small_pages(void *address, size_t length);

#endif
