/* Costly instructions in known numbers: each phase is N of one kind in user code.  See test_costly.py. */
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "marker.h"

#define N 1003
#define PAGES 211
#define REPEAT(what) \
	for (long i = 0; i < N; i++) \
	__asm__ volatile(what : : "r"(&word), "r"(0L) : "memory", "rax", "rbx", "rcx", "rdx")

static volatile long word;

static void pauses(void)
{
	REPEAT("pause");
}

static void locks(void) /* two of the three lock, in one block */
{
	REPEAT("lock incl (%0)\n\tincl (%0)\n\tlock cmpxchg %1, (%0)");
}

static void exchanges(void) /* of registers they do not lock */
{
	REPEAT("xchg %%rax, (%0)\n\txchg %%rax, %%rbx");
}

static void neither(void) /* slow too, but of no class */
{
	REPEAT("xor %%ecx, %%ecx\n\txor %%eax, %%eax\n\tcpuid\n\trdtsc\n\tmfence\n\tlfence");
}

/* What is locked is in a page that is not there yet: the instruction faults, and is executed again. */
static void faulting(void)
{
	char *page = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	for (long i = 0; i < PAGES; i++)
		__asm__ volatile("pause\n\tlock incl (%0)\n\tpause\n\txchg %%rax, 64(%0)"
				 : : "r"(page + i * 4096) : "rax", "memory");
}

/* The instruction that faults is the last of its block, so that it is not known whether it did. */
static void faulting_last(void)
{
	char *page = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	for (long i = 0; i < PAGES; i++)
		__asm__ volatile("xrstor (%0)" : : "r"((char *)page + i * 4096), "a"(0), "d"(0) : "memory");
}

static void (*const phases[])(void) = {pauses, locks, exchanges, neither, faulting, faulting_last};
#define PHASES (sizeof phases / sizeof phases[0])

int main(void)
{
	static uint64_t ticks[PHASES];

	puts("weaklink: ready");
	fflush(stdout);
	weaklink_arm();
	for (unsigned i = 0; i < PHASES; i++) {
		uint64_t began = weaklink_phase_begin(i + 1);

		phases[i]();
		ticks[i] = weaklink_phase_end() - began;
	}
	weaklink_disarm();
	for (unsigned i = 0; i < PHASES; i++)
		printf("weaklink: phase %u costly-%u ok 1 %llu\n", i + 1, i + 1, (unsigned long long)ticks[i]);
	puts("weaklink: done");
	fflush(stdout);
	for (;;)
		pause();
}
