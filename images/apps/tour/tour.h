/* SPDX-License-Identifier: MIT */
/* What the files of the tour share.  Every function of ours begins with tour_, to be told from libc's by name. */
#ifndef TOUR_H
#define TOUR_H

#include <stddef.h>

#include "app.h"

/*
 * Worker threads: created and parked before the window, let go in it, waited for in it, joined after it.  In the window
 * this is one sem_post per worker by tour_workers_go, one sem_post by each worker and one sem_wait for each by
 * tour_workers_wait.  Workers then park on a barrier, so that their exit is in nobody's window.
 */
#define TOUR_WORKERS 8
typedef int (*tour_work)(int index, long ops);
int tour_workers_start(int count, tour_work work, long ops);
void tour_workers_go(void);
void tour_workers_wait(void);
int tour_workers_join(void);

/* Closes a descriptor and forgets it; two of them for a pipe.  Outside windows only. */
void tour_close(int *descriptor);
void tour_close_pipe(int *ends);

/* phases_poll.c: a hundred pipes, made and closed for poll and epoll alike. */
#define TOUR_HUNDRED 100
extern int tour_pipes[TOUR_HUNDRED][2];
int tour_pipes_open(void);
void tour_pipes_close(void);

extern const struct app_phase tour_null_call, tour_clock_read;                                   /* phases_calls.c */
extern const struct app_phase tour_mutex_free, tour_mutex_contended, tour_condvar_pingpong;      /* phases_locks.c */
extern const struct app_phase tour_pipe_pingpong, tour_pipe_throughput;                          /* phases_pipe.c */
extern const struct app_phase tour_malloc_one, tour_malloc_several, tour_page_touch, tour_map_unmap; /* _memory.c */
extern const struct app_phase tour_file_create, tour_file_tree, tour_file_write, tour_file_read; /* phases_file.c */
extern const struct app_phase tour_shared_poll, tour_poll_100;                                   /* phases_poll.c */
extern const struct app_phase tour_epoll_100;                                      /* epoll.c, or else no_epoll.c */
extern const struct app_phase tour_tcp_pingpong, tour_tcp_stream;                                /* phases_tcp.c */
extern const struct app_phase tour_thread_create, tour_fork_wait;                                /* phases_process.c */

#endif
