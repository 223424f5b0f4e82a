/* SPDX-License-Identifier: MIT */
/* The phase epoll-100 on a kernel that has no epoll: unsupported. */
#include "tour.h"

#include <errno.h>

static int tour_epoll_100_setup(long ops)
{
	(void)ops;
	return app_fail("epoll_create1", ENOSYS);
}

static int tour_epoll_100_run(long ops)
{
	(void)ops;
	return -1;
}

static int tour_epoll_100_finish(long ops)
{
	(void)ops;
	return 0;
}

const struct app_phase tour_epoll_100 = {
	19, "epoll-100", "event", "What does it cost to learn through epoll which one of 100 descriptors is ready?",
	1009, 101, tour_epoll_100_setup, tour_epoll_100_run, tour_epoll_100_finish,
};
