/* SPDX-License-Identifier: MIT */
/*
 * server: a thread that polls so many TCP connections over loopback and sends each byte back; main is all the clients,
 * one after the other, and waits for each answer.  So one connection of all is ready at a time, as in a server most of
 * whose clients are silent.
 */
#define _GNU_SOURCE
#include "crowd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CROWD_CONNECTIONS 64

static int crowd_clients[CROWD_CONNECTIONS];
static struct pollfd crowd_served[CROWD_CONNECTIONS];
static int crowd_connected;

static int crowd_serve(int index, long ops)
{
	(void)index;
	for (long answered = 0; answered < ops;) {
		if (poll(crowd_served, (nfds_t)crowd_connected, -1) < 1)
			return app_fail("poll", errno);
		for (int i = 0; i < crowd_connected; i++) {
			char byte;
			ssize_t moved;

			if (!crowd_served[i].revents)
				continue;
			moved = recv(crowd_served[i].fd, &byte, 1, 0);
			if (moved == 1)
				moved = send(crowd_served[i].fd, &byte, 1, 0);
			if (moved != 1) {
				for (int j = 0; j < crowd_connected; j++) /* or main would wait for ever */
					shutdown(crowd_served[j].fd, SHUT_RDWR);
				return app_short("a connection of the server's", moved);
			}
			answered++;
		}
	}
	return 0;
}

static int crowd_connect(int listener, struct sockaddr_in *address)
{
	int one = 1, client = socket(AF_INET, SOCK_STREAM, 0), server;

	if (client < 0)
		return app_fail("socket", errno);
	crowd_clients[crowd_connected] = client;
	if (connect(client, (struct sockaddr *)address, sizeof *address)) {
		int error = errno;

		close(client);
		return app_fail("connect", error);
	}
	server = accept(listener, NULL, NULL);
	if (server < 0) {
		int error = errno;

		close(client);
		return app_fail("accept", error);
	}
	crowd_served[crowd_connected].fd = server;
	crowd_served[crowd_connected].events = POLLIN;
	crowd_connected++;
	if (setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) ||
	    setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one))
		return app_fail("setsockopt", errno);
	return 0;
}

int crowd_server_setup(int count, long ops)
{
	struct sockaddr_in address;
	socklen_t length = sizeof address;
	int listener = socket(AF_INET, SOCK_STREAM, 0), failed = 0;

	crowd_connected = 0;
	if (listener < 0)
		return app_fail("socket", errno);
	memset(&address, 0, sizeof address);
	address.sin_family = AF_INET;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, count) ||
	    getsockname(listener, (struct sockaddr *)&address, &length))
		failed = app_fail("listen", errno);
	while (!failed && crowd_connected < count)
		failed = crowd_connect(listener, &address);
	close(listener);
	return failed ? -1 : crowd_start(1, crowd_serve, ops);
}

int crowd_server_run(int count, long ops)
{
	for (long i = 0; i < ops; i++) {
		int client = crowd_clients[i * 37 % count];
		char sent = (char)i, got = (char)~i;
		ssize_t moved = send(client, &sent, 1, 0);

		if (moved == 1)
			moved = recv(client, &got, 1, 0);
		if (moved != 1)
			return app_short("a client's connection", moved);
		if (sent != got)
			return app_wrong("another byte came back");
	}
	crowd_wait();
	return 0;
}

int crowd_server_finish(int count, long ops)
{
	int failed;

	(void)count;
	(void)ops;
	for (int i = 0; i < crowd_connected; i++)
		shutdown(crowd_clients[i], SHUT_RDWR); /* ends a server that still waits */
	failed = crowd_join();
	for (int i = 0; i < crowd_connected; i++) {
		close(crowd_clients[i]);
		close(crowd_served[i].fd);
	}
	crowd_connected = 0;
	return failed;
}
