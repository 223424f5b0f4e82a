/* SPDX-License-Identifier: MIT */
/* What the tour does not ask: a CPU with nothing to do, one with nothing but its own work, memory in huge pages. */
#define _GNU_SOURCE
#include "app.h"

#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>
#include <time.h>

#define BESIDE_PAGE 4096L
#define BESIDE_HUGE (512 * BESIDE_PAGE)

static int beside_nothing(long ops)
{
	(void)ops;
	return 0;
}

/* ---- sleep: the CPU is idle for several periods of the tick each time */

static int beside_sleep_run(long ops)
{
	struct timespec wait = { 0, 20 * 1000 * 1000 };

	for (long i = 0; i < ops; i++)
		if (nanosleep(&wait, NULL))
			return app_fail("nanosleep", errno);
	return 0;
}

static const struct app_phase beside_sleep = {
	1, "sleep", "sleep of 20 ms", "What does it cost to sleep on a CPU that is idle then?",
	101, 11, beside_nothing, beside_sleep_run, beside_nothing,
};

/* ---- turns: no call at all */

static int beside_turns_run(long ops)
{
	for (volatile long i = 0; i < ops; i++)
		;
	return 0;
}

static const struct app_phase beside_turns = {
	2, "turns", "turn", "What does it cost to be left alone?",
	1000003, 1009, beside_nothing, beside_turns_run, beside_nothing,
};

/* ---- huge-touch: page after page of a mapping of whole huge pages, whether it gets any or not */

static unsigned char *beside_map;
static volatile unsigned char *beside_fresh;
static size_t beside_length;

static int beside_huge_touch_setup(long ops)
{
	void *map;

	beside_length = (size_t)((ops * BESIDE_PAGE + BESIDE_HUGE - 1) / BESIDE_HUGE + 1) * BESIDE_HUGE;
	map = mmap(NULL, beside_length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED)
		return app_fail("mmap", errno);
	beside_map = map;
	beside_fresh = (unsigned char *)(((uintptr_t)map + BESIDE_HUGE - 1) / BESIDE_HUGE * BESIDE_HUGE);
	return 0;
}

static int beside_huge_touch_run(long ops)
{
	for (long i = 0; i < ops; i++) {
		beside_fresh[i * BESIDE_PAGE] = 1;
		if (beside_fresh[i * BESIDE_PAGE + BESIDE_PAGE / 2])
			return app_wrong("a fresh page is not empty");
	}
	return 0;
}

static int beside_huge_touch_finish(long ops)
{
	(void)ops;
	if (beside_map)
		munmap(beside_map, beside_length);
	beside_map = NULL;
	return 0;
}

/* Not a prime: whole huge pages, so that as many bytes are cleared either way. */
static const struct app_phase beside_huge_touch = {
	3, "huge-touch", "page of 4 KiB", "What does the first touch of memory cost that may be in huge pages?",
	2048, 31, beside_huge_touch_setup, beside_huge_touch_run, beside_huge_touch_finish,
};

const char app_name[] = "beside";
const struct app_phase *const app_phases[] = { &beside_sleep, &beside_turns, &beside_huge_touch };
const size_t app_phase_count = sizeof app_phases / sizeof app_phases[0];
