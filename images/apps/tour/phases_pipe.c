/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* Pipes between two threads: one byte there and back, and many bytes one way. */
#define _GNU_SOURCE
#include "tour.h"

#include <errno.h>
#include <unistd.h>

static int tour_there[2] = { -1, -1 }, tour_back[2] = { -1, -1 };

static void tour_close(int *descriptor)
{
	if (*descriptor >= 0)
		close(*descriptor);
	*descriptor = -1;
}

static int tour_pipes_close(void)
{
	tour_close(&tour_there[0]);
	tour_close(&tour_there[1]);
	tour_close(&tour_back[0]);
	tour_close(&tour_back[1]);
	return 0;
}

/* ---- pipe-pingpong */

static int tour_echo(int index, long ops)
{
	unsigned char byte;

	(void)index;
	for (long i = 0; i < ops; i++) {
		ssize_t moved = read(tour_there[0], &byte, 1);

		if (moved == 1)
			moved = write(tour_back[1], &byte, 1);
		if (moved != 1) {
			tour_short("echo through the pipe", moved);
			tour_close(&tour_back[1]); /* or main would wait for ever */
			return -1;
		}
	}
	return 0;
}

static int tour_pipe_pingpong_setup(long ops)
{
	if (pipe(tour_there) || pipe(tour_back))
		return tour_fail("pipe", errno);
	return tour_workers_start(1, tour_echo, ops);
}

static int tour_pipe_pingpong_run(long ops)
{
	tour_workers_go();
	for (long i = 0; i < ops; i++) {
		unsigned char sent = (unsigned char)i, got = (unsigned char)~i;

		ssize_t moved = write(tour_there[1], &sent, 1);

		if (moved != 1)
			return tour_short("write to the pipe", moved);
		moved = read(tour_back[0], &got, 1);
		if (moved != 1)
			return tour_short("read from the pipe", moved);
		if (sent != got)
			return tour_wrong("another byte came back");
	}
	tour_workers_wait();
	return 0;
}

static int tour_pipe_pingpong_finish(long ops)
{
	int failed;

	(void)ops;
	tour_close(&tour_there[1]); /* ends a worker that still reads */
	failed = tour_workers_join();
	tour_pipes_close();
	return failed;
}

const struct tour_phase tour_pipe_pingpong = {
	6, "pipe-pingpong", "round trip", "What does it cost to wake another thread through a pipe and be woken by it?",
	401, 17, tour_pipe_pingpong_setup, tour_pipe_pingpong_run, tour_pipe_pingpong_finish,
};
