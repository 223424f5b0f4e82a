/* SPDX-License-Identifier: MIT */
/* Preloaded: a wall clock that jumps by an hour, forth and back, every tenth of a second. */
#define _GNU_SOURCE
#include <stddef.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { HOUR = 3600, TENTH = 100000000 };

int clock_gettime(clockid_t clock, struct timespec *time)
{
	long failed = syscall(SYS_clock_gettime, clock, time);

	if (!failed && clock == CLOCK_REALTIME)
		time->tv_sec += time->tv_nsec / TENTH % 2 ? HOUR : -HOUR;
	return (int)failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
	struct timespec time;

	(void)zone;
	clock_gettime(CLOCK_REALTIME, &time);
	now->tv_sec = time.tv_sec;
	now->tv_usec = time.tv_nsec / 1000;
	return 0;
}

time_t time(time_t *result)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (result)
		*result = now.tv_sec;
	return now.tv_sec;
}
