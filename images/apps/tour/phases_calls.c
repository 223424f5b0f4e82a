/* SPDX-License-Identifier: MIT */
/* The least that can be asked: the null call and the clock. */
#define _GNU_SOURCE
#include "tour.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

static int tour_no_setup(long ops)
{
	(void)ops;
	return 0;
}

/* ---- null-call: enter the kernel, do nothing, come back */

static int tour_null_call_run(long ops)
{
	pid_t parent = getppid();

	for (long i = 1; i < ops; i++)
		if (getppid() != parent)
			return app_wrong("the parent changed");
	return 0;
}

const struct app_phase tour_null_call = {
	1, "null-call", "call", "What does it cost to enter the kernel and come back?",
	10007, 101, tour_no_setup, tour_null_call_run, tour_no_setup,
};

/* ---- clock-read */

static int tour_clock_read_run(long ops)
{
	struct timespec before = { 0, 0 }, now;

	for (long i = 0; i < ops; i++) {
		if (clock_gettime(CLOCK_MONOTONIC, &now))
			return app_fail("clock_gettime", errno);
		if (now.tv_sec < before.tv_sec || (now.tv_sec == before.tv_sec && now.tv_nsec < before.tv_nsec))
			return app_wrong("the clock went backwards");
		before = now;
	}
	return 0;
}

const struct app_phase tour_clock_read = {
	2, "clock-read", "read", "What does it cost to read the monotonic clock?",
	40009, 101, tour_no_setup, tour_clock_read_run, tour_no_setup,
};
