/* SPDX-License-Identifier: MIT */
/* An app that ends, or brings a kernel down that is not protected from its apps, in the way that CRASH names. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int deeper(volatile char *above)
{
	volatile char frame[1 << 16];

	frame[0] = *above;
	return deeper(frame) + frame[0];
}

static const char *volatile wild = (const char *)0x123456789000;

static int run(const char *how)
{
	volatile int zero = 0;

	if (!strcmp(how, "null"))
		*(volatile int *)8 = 1;
	if (!strcmp(how, "noncanonical"))
		*(volatile int *)0x8123456789000000 = 1;
	if (!strcmp(how, "undefined"))
		__asm__ volatile("ud2");
	if (!strcmp(how, "libc"))
		printf("%d\n", (int)strlen(wild));
	if (!strcmp(how, "null-call"))
		((void (*volatile)(void))0)();
	if (!strcmp(how, "no-interrupts")) { /* apps are in ring 0 there */
		__asm__ volatile("cli");
		*(volatile char *)mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) = 1;
	}
	if (!strcmp(how, "stack"))
		return deeper((volatile char *)&zero);
	if (!strcmp(how, "divide"))
		return 1 / zero;
	if (!strcmp(how, "abort"))
		abort();
	if (!strcmp(how, "killed"))
		kill(getpid(), SIGKILL);
	if (!strcmp(how, "exit"))
		exit(3);
	while (!strcmp(how, "pause"))
		pause();
	return 0;
}

int main(void)
{
	printf("crash: %s\n", CRASH);
	fflush(stdout);
	run(CRASH);
	printf("crash: survived\n");
	return 0;
}
