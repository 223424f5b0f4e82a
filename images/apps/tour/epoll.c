/* SPDX-License-Identifier: MIT */
/* Waiting for descriptors with epoll, which only Linux has, and OSv. */
#define _GNU_SOURCE
#include "tour.h"

#include <errno.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <unistd.h>

static int tour_epoll = -1;

static int tour_epoll_100_setup(long ops)
{
	(void)ops;
	if (tour_pipes_open())
		return -1;
	tour_epoll = epoll_create1(0);
	if (tour_epoll < 0)
		return app_fail("epoll_create1", errno);
	for (int i = 0; i < TOUR_HUNDRED; i++) {
		struct epoll_event event = { .events = EPOLLIN, .data = { .u32 = (uint32_t)i } };

		if (epoll_ctl(tour_epoll, EPOLL_CTL_ADD, tour_pipes[i][0], &event))
			return app_fail("epoll_ctl", errno);
	}
	return 0;
}

static int tour_epoll_100_run(long ops)
{
	for (long i = 0; i < ops; i++) {
		unsigned which = (unsigned)(i * 37 % TOUR_HUNDRED);
		struct epoll_event events[8];
		char byte = (char)i, got;

		if (write(tour_pipes[which][1], &byte, 1) != 1)
			return app_fail("write to a pipe", errno);
		if (epoll_wait(tour_epoll, events, 8, -1) != 1 || events[0].data.u32 != which)
			return app_wrong("epoll_wait did not name the one pipe that has something");
		if (read(tour_pipes[which][0], &got, 1) != 1 || got != byte)
			return app_wrong("the byte in the pipe is another one");
	}
	return 0;
}

static int tour_epoll_100_finish(long ops)
{
	(void)ops;
	tour_close(&tour_epoll);
	tour_pipes_close();
	return 0;
}

const struct app_phase tour_epoll_100 = {
	19, "epoll-100", "event", "What does it cost to learn through epoll which one of 100 descriptors is ready?",
	1009, 101, tour_epoll_100_setup, tour_epoll_100_run, tour_epoll_100_finish,
};
