/* SPDX-License-Identifier: MIT */
/*
 * A user's own program: a server in a thread, and a client that asks it ROUNDS times over 127.0.0.1, a byte each way.
 * All sends and receives are in round_trips(): any window around that has ROUNDS * 2 of each.
 *
 *     loopback                 does that
 *     loopback exit3           and returns 3
 *     loopback crash           and writes to address 0
 *     loopback fork            and has a child that ends before the first round
 *     loopback other           and another thread ends the program
 *     loopback forever         and never ends
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef MARKERS
#include "marker.h"
#endif

#define ROUNDS 503

static int listening, failed;
static sem_t gate; /* the server does not receive before the rounds begin */

static void check(int bad, const char *what)
{
	if (bad) {
		perror(what);
		failed = 1;
	}
}

static void *serve(void *none)
{
	int peer = accept(listening, NULL, NULL), on = 1;
	char byte;

	setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	sem_wait(&gate);
	for (int i = 0; i < ROUNDS; i++) {
		check(recv(peer, &byte, 1, 0) != 1, "recv");
		check(send(peer, &byte, 1, 0) != 1, "send");
	}
	close(peer);
	return none;
}

__attribute__((noinline)) void round_trips(int channel)
{
	sem_post(&gate);
	for (int i = 0; i < ROUNDS; i++) {
		char byte = (char)i, got;

		check(send(channel, &byte, 1, 0) != 1, "send");
		check(recv(channel, &got, 1, 0) != 1 || got != byte, "recv");
	}
}

__attribute__((noinline)) void round_trips_done(void)
{
	__asm__ volatile("" ::: "memory");
}

static void *leave(void *none)
{
	exit(0);
	return none;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	struct sockaddr_in where = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof where;
	int channel = socket(AF_INET, SOCK_STREAM, 0), on = 1, status;
	pthread_t server, other;

	setvbuf(stdout, NULL, _IOLBF, 0);
	sem_init(&gate, 0, 0);
	listening = socket(AF_INET, SOCK_STREAM, 0);
	check(bind(listening, (struct sockaddr *)&where, sizeof where), "bind");
	check(listen(listening, 1), "listen");
	check(getsockname(listening, (struct sockaddr *)&where, &length), "getsockname");
	pthread_create(&server, NULL, serve, NULL);
	check(connect(channel, (struct sockaddr *)&where, sizeof where), "connect");
	setsockopt(channel, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	if (!strcmp(what, "fork")) {
		pid_t child = fork();

		if (!child)
			exit(0);
		check(waitpid(child, &status, 0) != child, "waitpid");
	}
	printf("loopback: ready with %d rounds\n", ROUNDS);
#ifdef MARKERS
	weaklink_arm();
	uint64_t began = weaklink_phase_begin(7);
#endif
	round_trips(channel);
#ifdef MARKERS
	uint64_t ended = weaklink_phase_end();
	weaklink_disarm();
	printf("weaklink: phase 7 rounds %s %d %lu\n", failed ? "failed" : "ok", ROUNDS, (unsigned long)(ended - began));
#endif
	round_trips_done();
	pthread_join(server, NULL);
	close(channel);
	printf("loopback: done\n");
	if (!strcmp(what, "crash"))
		*(volatile int *)0 = 1;
	if (!strcmp(what, "other")) {
		pthread_create(&other, NULL, leave, NULL);
		pause();
	}
	while (!strcmp(what, "forever"))
		pause();
	return failed ? 1 : !strcmp(what, "exit3") ? 3 : 0;
}
