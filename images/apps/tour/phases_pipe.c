/* SPDX-License-Identifier: MIT */
/* Pipes between two threads: one byte there and back, and many bytes one way. */
#define _GNU_SOURCE
#include "tour.h"

#include <errno.h>
#include <unistd.h>

static int tour_there[2] = { -1, -1 }, tour_back[2] = { -1, -1 };

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
			app_short("echo through the pipe", moved);
			tour_close(&tour_back[1]); /* or main would wait for ever */
			return -1;
		}
	}
	return 0;
}

static int tour_pipe_pingpong_setup(long ops)
{
	if (pipe(tour_there) || pipe(tour_back))
		return app_fail("pipe", errno);
	return tour_workers_start(1, tour_echo, ops);
}

static int tour_pipe_pingpong_run(long ops)
{
	tour_workers_go();
	for (long i = 0; i < ops; i++) {
		unsigned char sent = (unsigned char)i, got = (unsigned char)~i;

		ssize_t moved = write(tour_there[1], &sent, 1);

		if (moved != 1)
			return app_short("write to the pipe", moved);
		moved = read(tour_back[0], &got, 1);
		if (moved != 1)
			return app_short("read from the pipe", moved);
		if (sent != got)
			return app_wrong("another byte came back");
	}
	tour_workers_wait();
	return 0;
}

static int tour_pipe_finish(long ops)
{
	int failed;

	(void)ops;
	tour_close(&tour_there[1]); /* ends a worker that still reads */
	failed = tour_workers_join();
	tour_close_pipe(tour_there);
	tour_close_pipe(tour_back);
	return failed;
}

const struct app_phase tour_pipe_pingpong = {
	6, "pipe-pingpong", "round trip", "What does it cost to wake another thread through a pipe and be woken by it?",
	401, 17, tour_pipe_pingpong_setup, tour_pipe_pingpong_run, tour_pipe_finish,
};

/* ---- pipe-throughput */

#define TOUR_CHUNK 65536

static unsigned char tour_out[TOUR_CHUNK], tour_in[TOUR_CHUNK];

/* Byte 0 of every chunk is its number; the others of a chunk do not change. */
static int tour_drain(int index, long ops)
{
	long total = ops * TOUR_CHUNK;

	(void)index;
	for (long at = 0; at < total;) {
		ssize_t moved = read(tour_there[0], tour_in, sizeof tour_in);
		long first = -at & (TOUR_CHUNK - 1); /* where in the buffer the next chunk begins */

		if (moved <= 0) {
			tour_close(&tour_there[0]); /* main's next write fails */
			return app_short("read from the pipe", moved);
		}
		if (first < moved && tour_in[first] != (unsigned char)((at + first) / TOUR_CHUNK)) {
			tour_close(&tour_there[0]);
			return app_wrong("a chunk came through the pipe changed or out of order");
		}
		at += moved;
	}
	return 0;
}

static int tour_pipe_throughput_setup(long ops)
{
	for (long i = 0; i < TOUR_CHUNK; i++)
		tour_out[i] = tour_in[i] = (unsigned char)(i * 7);
	if (pipe(tour_there))
		return app_fail("pipe", errno);
	return tour_workers_start(1, tour_drain, ops);
}

static int tour_pipe_throughput_run(long ops)
{
	tour_workers_go();
	for (long i = 0; i < ops; i++) {
		ssize_t moved;

		tour_out[0] = (unsigned char)i;
		moved = write(tour_there[1], tour_out, sizeof tour_out);
		if (moved != (ssize_t)sizeof tour_out)
			return app_short("write to the pipe", moved);
	}
	tour_workers_wait();
	return 0;
}

const struct app_phase tour_pipe_throughput = {
	7, "pipe-throughput", "write of 64 KiB", "What does it cost to move bulk data to another thread through a pipe?",
	97, 3, tour_pipe_throughput_setup, tour_pipe_throughput_run, tour_pipe_finish,
};
