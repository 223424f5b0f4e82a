/* SPDX-License-Identifier: MIT */
#ifndef APP_GUEST_H
#define APP_GUEST_H

/* The "weaklink: guest" lines. */
void app_guest_report(void);

#endif
