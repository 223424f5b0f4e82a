/* SPDX-License-Identifier: MIT */
/* Brings a FreeBSD kernel down, in the way that CRASH names; see test_freebsd.py. */
#include <sys/types.h>
#include <sys/sysctl.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void tell(const char *name)
{
	int one = 1;

	sysctlbyname(name, NULL, NULL, &one, sizeof one);
}

int main(void)
{
	printf("crash: " CRASH "\n");
	fflush(stdout);
	if (!strcmp(CRASH, "panic"))
		tell("debug.kdb.panic");
	if (!strcmp(CRASH, "fault"))
		tell("debug.kdb.trap");
	if (!strcmp(CRASH, "code"))
		tell("debug.kdb.trap_code");
	if (!strcmp(CRASH, "stack"))
		tell("debug.kdb.stack_overflow");
	if (!strcmp(CRASH, "null"))
		*(volatile int *)0 = 1;
	if (!strcmp(CRASH, "kill"))
		raise(SIGKILL);
	return strcmp(CRASH, "exit") ? 9 : 3;
}
