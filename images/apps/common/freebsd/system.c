/* SPDX-License-Identifier: MIT */
/* FreeBSD: what the kernel says of itself.  What PID 1 has to do was done by the guest's init, which became the app. */
#include "../system.h"

#include <sys/param.h>
#include <sys/sysctl.h>

#include <ctype.h>
#include <kenv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void app_system_start(void)
{
}

void app_system_small_pages(void *address, size_t length)
{
	(void)address; /* memory comes in pages of 4 KiB; whole ranges of them are joined later */
	(void)length;
}

static int app_number(const char *name)
{
	int value = -1;
	size_t size = sizeof value;

	return sysctlbyname(name, &value, &size, NULL, 0) || size != sizeof value ? -1 : value;
}

/* The text of a setting in lower case, without control characters, or "unknown". */
static const char *app_text(const char *name, char *text, size_t size)
{
	size_t length = size - 1;

	memset(text, 0, size);
	if (sysctlbyname(name, text, &length, NULL, 0))
		return "unknown";
	for (char *c = text; *c; c++)
		*c = (unsigned char)*c < ' ' || *c == 0x7f ? ' ' : (char)tolower((unsigned char)*c);
	return text;
}

static void app_say_mitigations(void)
{
	static const char *const switches[] = { "hw.ibrs_active", "hw.spec_store_bypass_disable_active" };
	char text[128];

	printf("weaklink: guest mitigations mds=%s", app_text("hw.mds_disable_state", text, sizeof text));
	for (size_t i = 0; i < sizeof switches / sizeof switches[0]; i++)
		printf(";%s=%d", switches[i], app_number(switches[i]));
	printf("\n");
}

/* What the kernel was started with: NAME=VALUE, each ended by a NUL. */
static void app_say_command_line(void)
{
	int size = kenv(KENV_DUMP, NULL, NULL, 0);
	char *all = size > 0 ? calloc(1, (size_t)size + 1) : NULL;

	if (!all || kenv(KENV_DUMP, NULL, all, size) < 0) {
		printf("weaklink: guest cmdline unknown\n");
	} else {
		printf("weaklink: guest cmdline");
		for (char *word = all; word < all + size && *word; word += strlen(word) + 1)
			printf(" %s", word);
		printf("\n");
	}
	free(all);
}

void app_system_report(void)
{
	char text[128];
	int pti = app_number("vm.pmap.pti");

	printf("weaklink: guest clocksource %s\n", app_text("kern.timecounter.hardware", text, sizeof text));
	printf("weaklink: guest pti %s\n", pti < 0 ? "unknown" : pti ? "on" : "off");
	app_say_mitigations();
	app_say_command_line();
}
