/* SPDX-License-Identifier: MIT */
/* What every guest says of itself in the same way.  Read and printed before the probe is armed. */
#include "guest.h"

#include <cpuid.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "system.h"

static void app_say_vendor(void)
{
	unsigned leaf, words[3];
	char vendor[sizeof words + 1] = "unknown";

	if (__get_cpuid(0, &leaf, &words[0], &words[2], &words[1])) {
		memcpy(vendor, words, sizeof words);
		vendor[sizeof words] = 0;
	}
	printf("weaklink: guest vendor %s\n", vendor);
}

void app_guest_report(void)
{
	struct utsname name;

	if (!uname(&name))
		printf("weaklink: guest version %s %s\n", name.release, name.version);
	app_say_vendor();
	app_system_report();
}
