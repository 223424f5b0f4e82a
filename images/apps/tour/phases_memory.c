/* SPDX-License-Identifier: MIT */
/* Allocation, page faults, mappings. */
#define _GNU_SOURCE
#include "tour.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "system.h"

#define TOUR_BLOCKS 64    /* live at any time */
#define TOUR_PAGE 4096
#define TOUR_MAP_PAGES 4

/* Every block says which it is, in its first word: 16 to 496 bytes, in no order. */
static _Atomic(uintptr_t *) tour_blocks[TOUR_BLOCKS];

static uintptr_t *tour_block_make(long number)
{
	uintptr_t *block = malloc((size_t)(number * 7 % 31 + 1) * 16);

	if (block)
		*block = ~(uintptr_t)block;
	return block;
}

static int tour_blocks_setup(void)
{
	for (long i = 0; i < TOUR_BLOCKS; i++) {
		uintptr_t *block = tour_block_make(i);

		if (!block)
			return app_fail("malloc", errno);
		atomic_store(&tour_blocks[i], block);
	}
	return 0;
}

static int tour_blocks_finish(void)
{
	int failed = 0;

	for (long i = 0; i < TOUR_BLOCKS; i++) {
		uintptr_t *block = atomic_exchange(&tour_blocks[i], NULL);

		if (block && *block != ~(uintptr_t)block)
			failed = app_wrong("a block was overwritten");
		free(block);
	}
	return failed;
}

/* One op: a new block takes the place of the oldest, whoever made that. */
static int tour_block_replace(long number)
{
	uintptr_t *block = tour_block_make(number);

	if (!block)
		return app_fail("malloc", errno);
	block = atomic_exchange_explicit(&tour_blocks[number % TOUR_BLOCKS], block, memory_order_acq_rel);
	if (*block != ~(uintptr_t)block)
		return app_wrong("a block was overwritten");
	free(block);
	return 0;
}

/* ---- malloc-one */

static int tour_malloc_one_setup(long ops)
{
	(void)ops;
	return tour_blocks_setup();
}

static int tour_malloc_one_run(long ops)
{
	for (long i = 0; i < ops; i++)
		if (tour_block_replace(i))
			return -1;
	return 0;
}

static int tour_malloc_one_finish(long ops)
{
	(void)ops;
	return tour_blocks_finish();
}

const struct app_phase tour_malloc_one = {
	8, "malloc-one", "malloc and free", "What does a small allocation cost in one thread?",
	20011, 211, tour_malloc_one_setup, tour_malloc_one_run, tour_malloc_one_finish,
};

/* ---- malloc-several: main and three workers, who free each other's blocks; they yield, or each would run alone */

#define TOUR_SHARERS 4
#define TOUR_YIELD_EVERY 64

static int tour_malloc_share(int index, long ops)
{
	long share = ops / TOUR_SHARERS + (index == TOUR_SHARERS - 1 ? ops % TOUR_SHARERS : 0);

	for (long i = 1; i <= share; i++) {
		if (tour_block_replace(i + index))
			return -1;
		if (i % TOUR_YIELD_EVERY == 0)
			sched_yield();
	}
	return 0;
}

static int tour_malloc_several_setup(long ops)
{
	if (tour_blocks_setup())
		return -1;
	return tour_workers_start(TOUR_SHARERS - 1, tour_malloc_share, ops);
}

static int tour_malloc_several_run(long ops)
{
	int failed;

	tour_workers_go();
	failed = tour_malloc_share(TOUR_SHARERS - 1, ops);
	tour_workers_wait();
	return failed;
}

static int tour_malloc_several_finish(long ops)
{
	int failed = tour_workers_join();

	(void)ops;
	return tour_blocks_finish() | failed;
}

const struct app_phase tour_malloc_several = {
	9, "malloc-several", "malloc and free", "What does a small allocation cost when four threads allocate and free?",
	20011, 1009, tour_malloc_several_setup, tour_malloc_several_run, tour_malloc_several_finish,
};

/* ---- page-touch */

static volatile unsigned char *tour_fresh;

static int tour_page_touch_setup(long ops)
{
	size_t length = (size_t)ops * TOUR_PAGE;
	void *fresh = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (fresh == MAP_FAILED)
		return app_fail("mmap", errno);
	app_system_small_pages(fresh, length);
	tour_fresh = fresh;
	return 0;
}

static int tour_page_touch_run(long ops)
{
	for (long i = 0; i < ops; i++) {
		tour_fresh[i * TOUR_PAGE] = 1;
		if (tour_fresh[i * TOUR_PAGE + TOUR_PAGE / 2])
			return app_wrong("a fresh page is not empty");
	}
	return 0;
}

static int tour_page_touch_finish(long ops)
{
	int failed = 0;

	if (!tour_fresh)
		return 0;
	for (long i = 0; i < ops; i++)
		if (tour_fresh[i * TOUR_PAGE] > 1)
			failed = app_wrong("a page holds something else");
	munmap((void *)tour_fresh, (size_t)ops * TOUR_PAGE);
	tour_fresh = NULL;
	return failed;
}

const struct app_phase tour_page_touch = {
	10, "page-touch", "page of 4 KiB", "What does the first touch of fresh memory cost?",
	1009, 31, tour_page_touch_setup, tour_page_touch_run, tour_page_touch_finish,
};

/* ---- map-unmap */

static int tour_map_unmap_setup(long ops)
{
	(void)ops;
	return 0;
}

static int tour_map_unmap_run(long ops)
{
	for (long i = 0; i < ops; i++) {
		size_t length = TOUR_MAP_PAGES * TOUR_PAGE;
		volatile unsigned char *map =
			mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (map == MAP_FAILED)
			return app_fail("mmap", errno);
		for (int page = 0; page < TOUR_MAP_PAGES; page++) {
			map[page * TOUR_PAGE] = 1;
			if (map[page * TOUR_PAGE + TOUR_PAGE / 2])
				return app_wrong("a fresh page is not empty");
		}
		if (munmap((void *)map, length))
			return app_fail("munmap", errno);
	}
	return 0;
}

const struct app_phase tour_map_unmap = {
	11, "map-unmap", "mapping of 4 pages", "What does it cost to map memory, touch it, and give it back?",
	127, 11, tour_map_unmap_setup, tour_map_unmap_run, tour_map_unmap_setup,
};
