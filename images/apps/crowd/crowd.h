/* SPDX-License-Identifier: MIT */
/* What the files of crowd share.  Every function of ours begins with crowd_, to be told from libc's by name. */
#ifndef CROWD_H
#define CROWD_H

#include "app.h"

#define CROWD_MOST 16 /* threads */

/*
 * Threads: made and let go before the window, where they block; waited for in it (a sem_post by each, a sem_wait for
 * each), joined after it.  They park on a barrier in between, so that their exit is in nobody's window.
 */
typedef int (*crowd_work)(int index, long ops);
int crowd_start(int count, crowd_work work, long ops);
void crowd_wait(void);
int crowd_join(void);

/* What a phase of each series does with so many threads or connections. */
int crowd_mutex_setup(int count, long ops);
int crowd_mutex_run(int count, long ops);
int crowd_mutex_finish(int count, long ops);
int crowd_herd_setup(int count, long ops);
int crowd_herd_run(int count, long ops);
int crowd_herd_finish(int count, long ops);
int crowd_server_setup(int count, long ops);
int crowd_server_run(int count, long ops);
int crowd_server_finish(int count, long ops);

#endif
