/* SPDX-License-Identifier: MIT */
/* Costly instructions in known numbers: each phase is one kind in user code. */
#define _GNU_SOURCE
#include "app.h"

#include <errno.h>
#include <sys/mman.h>

#define PAGE 4096
#define REPEAT(what) \
	for (long i = 0; i < ops; i++) \
		__asm__ volatile(what : : "r"(&word), "r"(0L) : "memory", "rax", "rbx", "rcx", "rdx"); \
	return 0

static volatile long word;

static int nothing(long ops)
{
	(void)ops;
	return 0;
}

static int pauses(long ops)
{
	REPEAT("pause");
}

static int locks(long ops) /* two of the three lock, in one block */
{
	REPEAT("lock incl (%0)\n\tincl (%0)\n\tlock cmpxchg %1, (%0)");
}

static int exchanges(long ops) /* of registers they do not lock */
{
	REPEAT("xchg %%rax, (%0)\n\txchg %%rax, %%rbx");
}

static int neither(long ops) /* slow too, but of no class */
{
	REPEAT("xor %%ecx, %%ecx\n\txor %%eax, %%eax\n\tcpuid\n\trdtsc\n\tmfence\n\tlfence");
}

static char *pages;

static int map(long ops)
{
	pages = mmap(NULL, (size_t)ops * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return pages == MAP_FAILED ? app_fail("mmap", errno) : 0;
}

static int unmap(long ops)
{
	return munmap(pages, (size_t)ops * PAGE) ? app_fail("munmap", errno) : 0;
}

/* What is locked is in a page that is not there yet: the instruction faults, and is executed again. */
static int faulting(long ops)
{
	for (long i = 0; i < ops; i++)
		__asm__ volatile("pause\n\tlock incl (%0)\n\tpause\n\txchg %%rax, 64(%0)"
				 : : "r"(pages + i * PAGE) : "rax", "memory");
	return 0;
}

/* The instruction that faults is the last of its block, so that it is not known whether it did. */
static int faulting_last(long ops)
{
	for (long i = 0; i < ops; i++)
		__asm__ volatile("xrstor (%0)" : : "r"(pages + i * PAGE), "a"(0), "d"(0) : "memory");
	return 0;
}

const char app_name[] = "costly";

static const struct app_phase all[] = {
	{ 1, "pauses", "turn", "What of PAUSE?", 1003, 2, nothing, pauses, nothing },
	{ 2, "locks", "turn", "What of a LOCK prefix?", 1003, 2, nothing, locks, nothing },
	{ 3, "exchanges", "turn", "What locks without a prefix?", 1003, 2, nothing, exchanges, nothing },
	{ 4, "neither", "turn", "What is slow, and of no class?", 1003, 2, nothing, neither, nothing },
	{ 5, "faulting", "page", "What of those that fault?", 211, 2, map, faulting, unmap },
	{ 6, "faulting-last", "page", "What if it is not known whether they do?", 211, 2, map, faulting_last, unmap },
};

const struct app_phase *const app_phases[] = { &all[0], &all[1], &all[2], &all[3], &all[4], &all[5] };
const size_t app_phase_count = sizeof(app_phases) / sizeof(app_phases[0]);
