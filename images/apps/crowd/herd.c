/* SPDX-License-Identifier: MIT */
/*
 * herd: so many threads poll as many pipes, all of them; main puts a byte into one, whoever gets it answers.
 *
 * That is a server whose processes all wait for all connections.  All poll when the window opens; a thread ends on a
 * byte CROWD_STOP, of which main writes one for each.
 */
#include "crowd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <unistd.h>

#define CROWD_GO 'g'
#define CROWD_STOP 's'

static int crowd_pipes[CROWD_MOST][2], crowd_answers[2], crowd_herds, crowd_stopped;
static atomic_long crowd_taken;

static int crowd_poller(int index, long ops)
{
	struct pollfd polled[CROWD_MOST];

	(void)index;
	(void)ops;
	for (int i = 0; i < crowd_herds; i++) {
		polled[i].fd = crowd_pipes[i][0];
		polled[i].events = POLLIN;
	}
	for (;;) {
		char byte = 0;
		ssize_t moved = -1;

		if (poll(polled, (nfds_t)crowd_herds, -1) < 1)
			return app_fail("poll", errno);
		for (int i = 0; i < crowd_herds; i++) {
			if (!(polled[i].revents & POLLIN))
				continue;
			moved = read(crowd_pipes[i][0], &byte, 1);
			if (moved < 0 && errno == EAGAIN)
				continue; /* another one was faster */
			if (moved != 1)
				return app_short("read by a poller", moved);
			break;
		}
		if (moved != 1)
			continue;
		if (byte == CROWD_STOP)
			return 0;
		atomic_fetch_add(&crowd_taken, 1);
		moved = write(crowd_answers[1], &byte, 1);
		if (moved != 1)
			return app_short("write by a poller", moved);
	}
}

static int crowd_put(long which, char byte)
{
	ssize_t moved = write(crowd_pipes[which % crowd_herds][1], &byte, 1);

	return moved == 1 ? 0 : app_short("write to a pipe", moved);
}

static int crowd_stop(void)
{
	crowd_stopped = 1;
	for (int i = 0; i < crowd_herds; i++)
		if (crowd_put(i, CROWD_STOP))
			return -1;
	return 0;
}

int crowd_herd_setup(int count, long ops)
{
	crowd_herds = count;
	crowd_stopped = 1; /* so far there is nobody to stop */
	atomic_store(&crowd_taken, 0);
	crowd_answers[0] = crowd_answers[1] = -1;
	for (int i = 0; i < count; i++)
		crowd_pipes[i][0] = crowd_pipes[i][1] = -1;
	if (pipe(crowd_answers))
		return app_fail("pipe", errno);
	for (int i = 0; i < count; i++)
		if (pipe(crowd_pipes[i]) || fcntl(crowd_pipes[i][0], F_SETFL, O_NONBLOCK))
			return app_fail("pipe", errno);
	if (crowd_start(count, crowd_poller, ops))
		return -1;
	crowd_stopped = 0;
	return 0;
}

int crowd_herd_run(int count, long ops)
{
	(void)count;
	for (long i = 0; i < ops; i++) {
		char byte;
		ssize_t moved;

		if (crowd_put(i, CROWD_GO))
			return -1;
		moved = read(crowd_answers[0], &byte, 1);
		if (moved != 1)
			return app_short("read of the answer", moved);
	}
	if (crowd_stop())
		return -1;
	crowd_wait();
	return 0;
}

static void crowd_close(int *ends)
{
	for (int i = 0; i < 2; i++)
		if (ends[i] >= 0)
			close(ends[i]);
}

int crowd_herd_finish(int count, long ops)
{
	int failed = crowd_stopped ? 0 : crowd_stop();

	failed |= crowd_join();
	for (int i = 0; i < count; i++)
		crowd_close(crowd_pipes[i]);
	crowd_close(crowd_answers);
	return failed ? -1 : atomic_load(&crowd_taken) == ops ? 0 : app_wrong("the pollers took another number of bytes");
}
