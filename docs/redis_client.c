/* SPDX-License-Identifier: MIT */
/*
 * A client for `weaklink run .../redis-server --with examples/redis_client.c --window marker`: asks a Redis server on
 * 127.0.0.1:6379, one request after the other on one connection, in a phase per kind of request.
 *
 * It runs in a thread of the server's own process.  What it reads is checked; the first wrong answer ends everything.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "marker.h"

#define PORT 6379
#define TRIES 1000     /* at 10 ms of the guest's time */
#define WARM 20        /* requests before the window: buffers have grown, pages are there */
#define LARGE 16384    /* bytes of the value that is large-get's */

struct request {
	const char *name;
	long ops;
	char *text, *answer;
	size_t text_size, answer_size;
	uint64_t took;
};

static int server = -1;

static void die(const char *what)
{
	fprintf(stderr, "redis_client: %s\n", what);
	exit(1);
}

static void find_server(void)
{
	struct sockaddr_in where = { .sin_family = AF_INET, .sin_port = htons(PORT) };
	struct timespec pause = { 0, 10 * 1000 * 1000 };
	int on = 1;

	where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	for (int try = 0; try < TRIES; try++) {
		server = socket(AF_INET, SOCK_STREAM, 0);
		if (server >= 0 && !connect(server, (struct sockaddr *)&where, sizeof where)) {
			setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
			return;
		}
		close(server);
		nanosleep(&pause, NULL);
	}
	die("no server answers");
}

static void ask(const struct request *request)
{
	static char got[2 * LARGE];
	size_t have = 0;

	if (write(server, request->text, request->text_size) != (ssize_t)request->text_size)
		die("a request could not be sent");
	while (have < request->answer_size) {
		ssize_t more = read(server, got + have, sizeof got - have);

		if (more <= 0)
			die("the server is gone");
		have += (size_t)more;
	}
	if (have != request->answer_size || memcmp(got, request->answer, have))
		die("the server's answer is another one");
}

static struct request make(const char *name, long ops, const char *answer, int words, ...)
{
	struct request made = { .name = name, .ops = ops, .answer = strdup(answer), .answer_size = strlen(answer) };
	FILE *text = open_memstream(&made.text, &made.text_size);
	va_list list;

	fprintf(text, "*%d\r\n", words);
	va_start(list, words);
	for (int i = 0; i < words; i++) {
		const char *word = va_arg(list, const char *);

		fprintf(text, "$%zu\r\n%s\r\n", strlen(word), word);
	}
	va_end(list);
	fclose(text);
	return made;
}

/* Not inlined: its code is the same for every phase, and has been executed before the first window. */
static __attribute__((noinline)) void window(unsigned number, struct request *request, long ops)
{
	uint64_t began = weaklink_phase_begin(number);

	for (long i = 0; i < ops; i++)
		ask(request);
	request->took = weaklink_phase_end() - began;
}

int main(void)
{
	static char large[LARGE + 1], large_answer[LARGE + 32];

	memset(large, 'x', LARGE);
	snprintf(large_answer, sizeof large_answer, "$%d\r\n%s\r\n", LARGE, large);
	find_server();

	struct request first = make("", 1, "+OK\r\n", 3, "SET", "large", large);
	struct request requests[] = {
		make("ping", 1009, "+PONG\r\n", 1, "PING"),
		make("set", 1009, "+OK\r\n", 3, "SET", "key", "value"),
		make("get", 1009, "$5\r\nvalue\r\n", 2, "GET", "key"),
		make("large-get", 211, large_answer, 2, "GET", "large"),
	};
	size_t count = sizeof requests / sizeof requests[0];

	ask(&first);
	for (size_t i = 0; i < count; i++)
		for (int warm = 0; warm < WARM; warm++)
			ask(&requests[i]);
	for (size_t i = 0; i < count; i++)
		window((unsigned)i + 1, &requests[i], 1);
	weaklink_arm();
	for (size_t i = 0; i < count; i++)
		window((unsigned)i + 1, &requests[i], requests[i].ops);
	weaklink_disarm();
	for (size_t i = 0; i < count; i++)
		printf("weaklink: phase %zu %s ok %ld %llu\n", i + 1, requests[i].name, requests[i].ops,
		       (unsigned long long)requests[i].took);
	return 0;
}
