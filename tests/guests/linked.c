/* SPDX-License-Identifier: MIT */
/* An app in three files: PART 0 is the program, which needs library 1, which needs library 2.  See test_osv.py. */
#include <stdint.h>
#include <stdio.h>

static __attribute__((noinline, used)) int SPIN(int rounds)
{
	int sum = 0;

	for (volatile int i = 0; i < rounds; i++)
		sum += i;
	return sum;
}

int first(int rounds);
int second(int rounds);

#if PART == 2
static char before[99999]; /* pages between the first address and the last */

int second(int rounds)
{
	return SPIN(3 * rounds) + before[rounds];
}
#elif PART == 1
int first(int rounds)
{
	return SPIN(2 * rounds) + second(rounds);
}
#else
#include "marker.h"

int main(void)
{
	uint64_t begin, end;
	volatile int result;

	printf("weaklink: ready\n");
	fflush(stdout);
	result = first(1) + SPIN(1); /* what is paged in on first use is, now */
	weaklink_arm();
	begin = weaklink_phase_begin(1);
	result = first(1000) + SPIN(1000);
	end = weaklink_phase_end();
	weaklink_disarm();
	(void)result;
	printf("weaklink: phase 1 null-call ok 1 %llu\n", (unsigned long long)(end - begin));
	printf("weaklink: done\n");
	fflush(stdout);
	for (;;)
		;
}
#endif
