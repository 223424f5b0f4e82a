/* SPDX-License-Identifier: MIT */
/*
 * What an app has from the runtime that all share: it brings phases, the runtime brings main, windows and report.
 * Functions of the runtime begin with app_, an app's own with its name, to be told from libc's.
 */
#ifndef APP_H
#define APP_H

#include <stddef.h>

/*
 * One question.  `setup` makes all that `run` needs; `run` does `ops` ops and nothing else; `finish` checks what can be
 * checked afterwards and gives everything back, also after a setup that went half way.  Each returns 0, or -1 after
 * app_fail or app_wrong.  All three are called twice: with `warm` ops unmarked, then with `ops` ops, `run` being the
 * window.  `ops` is prime, so that a count that matches it matches nothing else.
 */
struct app_phase {
	int number;
	const char *name;
	const char *op;
	const char *question;
	long ops;
	long warm;
	int (*setup)(long ops);
	int (*run)(long ops);
	int (*finish)(long ops);
};

/* The app's. */
extern const char app_name[];
extern const struct app_phase *const app_phases[];
extern const size_t app_phase_count;

/* A directory of the app's own in the memory file system, made before the first phase, and removed if it is empty. */
extern char app_folder[64];

/* A call failed with this error number: "unsupported" if it says that the guest has no such thing, else "failed". */
int app_fail(const char *call, int error);
/* A read, write, send or recv that moved less than it had to: failed, or ended early. */
int app_short(const char *call, long moved);
/* The calls worked, but the result is wrong; the second also says what of. */
int app_wrong(const char *what);
int app_wrong_about(const char *what, const char *detail);

/* Sleeps so long that every thread that is about to block has blocked. */
void app_settle(void);

#endif
