/* SPDX-License-Identifier: MIT */
/* Threads and processes: created and waited for. */
#define _GNU_SOURCE
#include "tour.h"

#include <errno.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile long tour_lives;

static int tour_lives_setup(long ops)
{
	(void)ops;
	tour_lives = 0;
	return 0;
}

static int tour_lives_finish(long ops)
{
	return tour_lives == ops ? 0 : app_wrong("another number of them lived");
}

/* ---- thread-create */

static void *tour_live(void *argument)
{
	tour_lives++; /* one at a time: the one before it has been joined */
	return argument;
}

static int tour_thread_create_run(long ops)
{
	for (long i = 0; i < ops; i++) {
		pthread_t thread;
		void *result = NULL;
		int error = pthread_create(&thread, NULL, tour_live, &result);

		if (error)
			return app_fail("pthread_create", error);
		error = pthread_join(thread, &result);
		if (error)
			return app_fail("pthread_join", error);
		if (result != &result)
			return app_wrong("the thread returned something else");
	}
	return 0;
}

const struct app_phase tour_thread_create = {
	21, "thread-create", "thread", "What does a thread cost from its creation to its end?",
	101, 11, tour_lives_setup, tour_thread_create_run, tour_lives_finish,
};

/* ---- fork-wait */

#define TOUR_CHILD_CODE 7

static int tour_fork_wait_setup(long ops)
{
	int failed = tour_lives_setup(ops);

	errno = ENOSYS; /* what a fork means that fails without a reason, as OSv's does */
	return failed;
}

static int tour_fork_wait_run(long ops)
{
	for (long i = 0; i < ops; i++) {
		int status = 0;
		pid_t child = fork();

		if (child < 0)
			return app_fail("fork", errno);
		if (child == 0)
			_exit(TOUR_CHILD_CODE);
		if (waitpid(child, &status, 0) != child)
			return app_fail("waitpid", errno);
		if (!WIFEXITED(status) || WEXITSTATUS(status) != TOUR_CHILD_CODE)
			return app_wrong("a child ended in another way");
		tour_lives++;
	}
	return 0;
}

const struct app_phase tour_fork_wait = {
	22, "fork-wait", "process", "What does a process cost from its creation to its end?",
	11, 3, tour_fork_wait_setup, tour_fork_wait_run, tour_lives_finish,
};
