/* SPDX-License-Identifier: MIT */
/* Waiting for descriptors with poll.  Its cousin epoll-100 is in epoll.c. */
#define _GNU_SOURCE
#include "tour.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <unistd.h>

int tour_pipes[TOUR_HUNDRED][2];

int tour_pipes_open(void)
{
	for (int i = 0; i < TOUR_HUNDRED; i++)
		tour_pipes[i][0] = tour_pipes[i][1] = -1;
	for (int i = 0; i < TOUR_HUNDRED; i++)
		if (pipe(tour_pipes[i]))
			return app_fail("pipe", errno);
	return 0;
}

void tour_pipes_close(void)
{
	for (int i = 0; i < TOUR_HUNDRED; i++)
		tour_close_pipe(tour_pipes[i]);
}

/* ---- poll-100 */

static struct pollfd tour_polled[TOUR_HUNDRED];

static int tour_poll_100_setup(long ops)
{
	(void)ops;
	if (tour_pipes_open())
		return -1;
	for (int i = 0; i < TOUR_HUNDRED; i++) {
		tour_polled[i].fd = tour_pipes[i][0];
		tour_polled[i].events = POLLIN;
	}
	return 0;
}

static int tour_poll_100_run(long ops)
{
	for (long i = 0; i < ops; i++) {
		int which = (int)(i * 37 % TOUR_HUNDRED);
		char byte = (char)i, got;

		if (write(tour_pipes[which][1], &byte, 1) != 1)
			return app_fail("write to a pipe", errno);
		if (poll(tour_polled, TOUR_HUNDRED, -1) != 1 || !(tour_polled[which].revents & POLLIN))
			return app_wrong("poll did not name the one pipe that has something");
		if (read(tour_pipes[which][0], &got, 1) != 1 || got != byte)
			return app_wrong("the byte in the pipe is another one");
	}
	return 0;
}

static int tour_poll_100_finish(long ops)
{
	(void)ops;
	tour_pipes_close();
	return 0;
}

const struct app_phase tour_poll_100 = {
	20, "poll-100", "event", "What does it cost to learn through poll which one of 100 descriptors is ready?",
	149, 101, tour_poll_100_setup, tour_poll_100_run, tour_poll_100_finish,
};

/*
 * ---- shared-poll: four workers poll the same pipe; main puts one byte in, one of them gets it and answers
 *
 * All four poll when the window opens.  A worker ends on its byte TOUR_STOP, of which main writes one for each.
 */

#define TOUR_POLLERS 4
#define TOUR_GO 'g'
#define TOUR_STOP 's'

static int tour_shared[2] = { -1, -1 }, tour_answers[2] = { -1, -1 };
static atomic_long tour_taken;
static int tour_stopped;

static int tour_poller(int index, long ops)
{
	struct pollfd polled = { .fd = tour_shared[0], .events = POLLIN };

	(void)index;
	(void)ops;
	for (;;) {
		char byte = 0;
		ssize_t moved;

		if (poll(&polled, 1, -1) != 1)
			return app_fail("poll", errno);
		moved = read(tour_shared[0], &byte, 1);
		if (moved < 0 && errno == EAGAIN)
			continue; /* another one was faster */
		if (moved != 1)
			return app_short("read by a poller", moved);
		if (byte == TOUR_STOP)
			return 0;
		atomic_fetch_add(&tour_taken, 1);
		moved = write(tour_answers[1], &byte, 1);
		if (moved != 1)
			return app_short("write by a poller", moved);
	}
}

static int tour_shared_poll_stop(void)
{
	tour_stopped = 1;
	for (int i = 0; i < TOUR_POLLERS; i++) {
		char byte = TOUR_STOP;
		ssize_t moved = write(tour_shared[1], &byte, 1);

		if (moved != 1)
			return app_short("write to the shared pipe", moved);
	}
	return 0;
}

static int tour_shared_poll_setup(long ops)
{
	tour_stopped = 1; /* so far there is nobody to stop */
	atomic_store(&tour_taken, 0);
	if (pipe(tour_shared) || pipe(tour_answers))
		return app_fail("pipe", errno);
	if (fcntl(tour_shared[0], F_SETFL, O_NONBLOCK))
		return app_fail("fcntl", errno);
	if (tour_workers_start(TOUR_POLLERS, tour_poller, ops))
		return -1;
	tour_stopped = 0;
	tour_workers_go();
	return 0;
}

static int tour_shared_poll_run(long ops)
{
	for (long i = 0; i < ops; i++) {
		char byte = TOUR_GO;
		ssize_t moved = write(tour_shared[1], &byte, 1);

		if (moved != 1)
			return app_short("write to the shared pipe", moved);
		moved = read(tour_answers[0], &byte, 1);
		if (moved != 1)
			return app_short("read of the answer", moved);
	}
	if (tour_shared_poll_stop())
		return -1;
	tour_workers_wait();
	return 0;
}

static int tour_shared_poll_finish(long ops)
{
	int failed = tour_stopped ? 0 : tour_shared_poll_stop();

	failed |= tour_workers_join();
	tour_close_pipe(tour_shared);
	tour_close_pipe(tour_answers);
	if (!failed && atomic_load(&tour_taken) != ops)
		return app_wrong("the pollers took another number of bytes");
	return failed;
}

const struct app_phase tour_shared_poll = {
	16, "shared-poll", "event", "What does an event cost on a descriptor that four threads poll?",
	307, 17, tour_shared_poll_setup, tour_shared_poll_run, tour_shared_poll_finish,
};
