/* SPDX-License-Identifier: MIT */
/* TCP over loopback between two threads: one byte there and back, and many bytes one way. */
#define _GNU_SOURCE
#include "tour.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#define TOUR_SEND 16384
#define TOUR_RECEIVE 65536

static int tour_client = -1, tour_server = -1;
static unsigned char tour_sent[TOUR_SEND], tour_received[TOUR_RECEIVE];

/* A connection with itself: the system completes it before anybody accepts it. */
static int tour_connect(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t length = sizeof address;
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	int one = 1, failed = 0;

	if (listener < 0)
		return app_fail("socket", errno);
	if (bind(listener, (struct sockaddr *)&address, length))
		failed = app_fail("bind", errno);
	else if (listen(listener, 1))
		failed = app_fail("listen", errno);
	else if (getsockname(listener, (struct sockaddr *)&address, &length))
		failed = app_fail("getsockname", errno);
	else if ((tour_client = socket(AF_INET, SOCK_STREAM, 0)) < 0)
		failed = app_fail("socket", errno);
	else if (connect(tour_client, (struct sockaddr *)&address, length))
		failed = app_fail("connect", errno);
	else if ((tour_server = accept(listener, NULL, NULL)) < 0)
		failed = app_fail("accept", errno);
	else if (setsockopt(tour_client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) ||
		 setsockopt(tour_server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one))
		failed = app_fail("setsockopt", errno);
	close(listener);
	return failed;
}

static int tour_tcp_finish(long ops)
{
	int failed;

	(void)ops;
	if (tour_client >= 0)
		shutdown(tour_client, SHUT_RDWR); /* ends a worker that still receives */
	failed = tour_workers_join();
	tour_close(&tour_client);
	tour_close(&tour_server);
	return failed;
}

/* ---- tcp-pingpong */

static int tour_tcp_echo(int index, long ops)
{
	(void)index;
	for (long i = 0; i < ops; i++) {
		unsigned char byte;
		ssize_t moved = recv(tour_server, &byte, 1, 0);

		if (moved == 1)
			moved = send(tour_server, &byte, 1, 0);
		if (moved != 1) {
			app_short("echo over TCP", moved);
			shutdown(tour_server, SHUT_RDWR); /* or main would wait for ever */
			return -1;
		}
	}
	return 0;
}

static int tour_tcp_pingpong_setup(long ops)
{
	return tour_connect() ? -1 : tour_workers_start(1, tour_tcp_echo, ops);
}

static int tour_tcp_pingpong_run(long ops)
{
	tour_workers_go();
	for (long i = 0; i < ops; i++) {
		unsigned char sent = (unsigned char)i, got = (unsigned char)~i;
		ssize_t moved = send(tour_client, &sent, 1, 0);

		if (moved != 1)
			return app_short("send", moved);
		moved = recv(tour_client, &got, 1, 0);
		if (moved != 1)
			return app_short("recv", moved);
		if (sent != got)
			return app_wrong("another byte came back");
	}
	tour_workers_wait();
	return 0;
}

const struct app_phase tour_tcp_pingpong = {
	17, "tcp-pingpong", "round trip", "What does a round trip over loopback TCP cost?",
	151, 17, tour_tcp_pingpong_setup, tour_tcp_pingpong_run, tour_tcp_finish,
};

/* ---- tcp-stream: byte 0 of every block sent is its number */

static int tour_tcp_drain(int index, long ops)
{
	long total = ops * TOUR_SEND;

	(void)index;
	for (long at = 0; at < total;) {
		ssize_t moved = recv(tour_server, tour_received, sizeof tour_received, 0);

		if (moved <= 0) {
			shutdown(tour_server, SHUT_RDWR);
			return app_short("recv", moved);
		}
		for (long first = -at & (TOUR_SEND - 1); first < moved; first += TOUR_SEND)
			if (tour_received[first] != (unsigned char)((at + first) / TOUR_SEND)) {
				shutdown(tour_server, SHUT_RDWR);
				return app_wrong("a block came over TCP changed or out of order");
			}
		at += moved;
	}
	return 0;
}

static int tour_tcp_stream_setup(long ops)
{
	for (long i = 0; i < TOUR_RECEIVE; i++)
		tour_received[i] = tour_sent[i % TOUR_SEND] = (unsigned char)(i * 7);
	return tour_connect() ? -1 : tour_workers_start(1, tour_tcp_drain, ops);
}

static int tour_tcp_stream_run(long ops)
{
	tour_workers_go();
	for (long i = 0; i < ops; i++) {
		ssize_t moved;

		tour_sent[0] = (unsigned char)i;
		moved = send(tour_client, tour_sent, TOUR_SEND, 0);
		if (moved != TOUR_SEND)
			return app_short("send", moved);
	}
	tour_workers_wait();
	return 0;
}

const struct app_phase tour_tcp_stream = {
	18, "tcp-stream", "send of 16 KiB", "What does it cost to move bulk data one way over loopback TCP?",
	211, 11, tour_tcp_stream_setup, tour_tcp_stream_run, tour_tcp_finish,
};
