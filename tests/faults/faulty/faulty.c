/* SPDX-License-Identifier: MIT */
/*
 * What can go wrong in a guest, a phase each.  It does on the day of seed 2 only, so that a campaign has runs that are
 * well beside the one that is struck.
 */
#define _GNU_SOURCE
#include "app.h"
#include "faulty.h"
#include "marker.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
	DAY = 24 * 60 * 60,
	STRUCK = 1767225600 + 2 * DAY, /* 2026-01-03 */
	LINE = 10 << 20,
	WARM = 11,
};

#define HOSTILE "\033[2J\033]0;owned\007<img src=x onerror=alert(1)><script>alert(1)</script>\xe2\x80\xae"

const char app_name[] = "faulty";

/* Not in the round that only warms up. */
static int struck(long ops)
{
	time_t now = time(NULL);

	return ops > WARM && now >= STRUCK && now < STRUCK + DAY;
}

static void calls(long ops)
{
	for (long op = 0; op < ops; op++)
		getppid();
}

static int none(long ops)
{
	(void)ops;
	return 0;
}

static int good(long ops)
{
	calls(ops);
	return 0;
}

static int panics(long ops)
{
	if (struck(ops)) {
		faulty_panic();
		abort();
	}
	calls(ops);
	return 0;
}

static int aborts(long ops)
{
	if (struck(ops))
		abort();
	calls(ops);
	return 0;
}

static int spins(long ops)
{
	while (struck(ops))
		getppid();
	calls(ops);
	return 0;
}

static int sleeps(long ops)
{
	while (struck(ops))
		sleep(3600);
	calls(ops);
	return 0;
}

static int chatters(long ops)
{
	while (struck(ops)) {
		printf("still working, really\n");
		fflush(stdout);
		usleep(100000);
	}
	calls(ops);
	return 0;
}

static int floods(long ops)
{
	static char text[4096];

	memset(text, 'x', sizeof text);
	text[sizeof text - 1] = '\n';
	while (struck(ops))
		(void)!write(1, text, sizeof text);
	calls(ops);
	return 0;
}

static void *named(void *ops)
{
	pthread_setname_np(pthread_self(), "<b>\033[31m</td>&\"'");
	calls(*(long *)ops);
	return NULL;
}

static int names(long ops)
{
	pthread_t thread;
	int error;

	if (!struck(ops)) {
		calls(ops);
		return 0;
	}
	printf("%s\n", HOSTILE);
	fflush(stdout);
	error = pthread_create(&thread, NULL, named, &ops);
	if (error)
		return app_fail("pthread_create", error);
	pthread_join(thread, NULL);
	return 0;
}

static int lines(long ops)
{
	static char text[1 << 16];

	memset(text, 'l', sizeof text);
	for (int written = 0; struck(ops) && written < LINE; written += sizeof text)
		(void)!write(1, text, sizeof text);
	calls(ops);
	if (struck(ops))
		printf("\n");
	return 0;
}

static int claims(long ops)
{
	if (struck(ops)) {
		printf("weaklink: phase 1 good ok 1 1\nweaklink: phase 9999999999 x ok 1 1\nweaklink: ready\n");
		printf("weaklink: guest kernel of somebody's\nweaklink: phase 1 " HOSTILE " ok 1 1\nweaklink: nonsense\n");
		fflush(stdout);
	}
	calls(ops);
	return 0;
}

static int marks(long ops)
{
	if (struck(ops))
		weaklink_phase_end();
	calls(ops);
	return 0;
}

static int finishes(long ops)
{
	if (struck(ops)) {
		printf("weaklink: done\n");
		fflush(stdout);
		for (;;)
			getppid();
	}
	calls(ops);
	return 0;
}

static int unasked(long ops)
{
	if (struck(ops)) {
		weaklink_phase_end();
		weaklink_phase_begin(150);
		calls(7);
		weaklink_phase_end();
		weaklink_phase_begin(13);
	}
	calls(ops);
	return 0;
}

#define PHASE(number, name, run, question) \
	static const struct app_phase phase_##number = { \
		number, name, "call", question, 1009, WARM, none, run, none, \
	}

PHASE(1, "good", good, "What does a call cost where nothing happens?");
PHASE(2, "panic", panics, "What if the kernel panics?");
PHASE(3, "abort", aborts, "What if the app aborts, which is the first process?");
PHASE(4, "spin", spins, "What if the app never ends, and works?");
PHASE(5, "sleep", sleeps, "What if the app never ends, and sleeps?");
PHASE(6, "chatter", chatters, "What if the app never ends, and says so for ever?");
PHASE(7, "flood", floods, "What if the app writes as much as it can, for ever?");
PHASE(8, "names", names, "What if names and console are hostile?");
PHASE(9, "lines", lines, "What if a line has 10 MB?");
PHASE(10, "claims", claims, "What if lines of the app's own pretend to be the runtime's?");
PHASE(11, "marks", marks, "What if markers come out of turn?");
PHASE(12, "finish", finishes, "What if the app says that it is done while it works?");
PHASE(13, "unasked", unasked, "What if it opens a phase that nobody declared?");

const struct app_phase *const app_phases[] = {
	&phase_1, &phase_2, &phase_3, &phase_4, &phase_5, &phase_6, &phase_7,
	&phase_8, &phase_9, &phase_10, &phase_11, &phase_12, &phase_13,
};
const size_t app_phase_count = sizeof app_phases / sizeof app_phases[0];
