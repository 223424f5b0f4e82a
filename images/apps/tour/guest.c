/* SPDX-License-Identifier: MIT */
/* What the guest says of itself.  Read and printed before the probe is armed; what cannot be read is "unknown". */
#define _GNU_SOURCE
#include "tour.h"

#include <cpuid.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#define TOUR_FLAWS "/sys/devices/system/cpu/vulnerabilities"

/* The first line of a file, without control characters; 0 if there is none to read. */
static int tour_first_line(const char *path, char *line, int size)
{
	FILE *file = fopen(path, "r");
	int good;

	if (!file)
		return 0;
	good = fgets(line, size, file) != NULL;
	fclose(file);
	if (!good)
		return 0;
	line[strcspn(line, "\n")] = 0;
	for (char *c = line; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
	return 1;
}

static void tour_say_file(const char *key, const char *path)
{
	char line[4096];

	printf("weaklink: guest %s %s\n", key, tour_first_line(path, line, sizeof line) ? line : "unknown");
}

static void tour_say_vendor(void)
{
	unsigned leaf, words[3];
	char vendor[sizeof words + 1] = "unknown";

	if (__get_cpuid(0, &leaf, &words[0], &words[2], &words[1])) {
		memcpy(vendor, words, sizeof words);
		vendor[sizeof words] = 0;
	}
	printf("weaklink: guest vendor %s\n", vendor);
}

static void tour_say_pti(void)
{
	char line[256];
	const char *state = "unknown";

	if (tour_first_line(TOUR_FLAWS "/meltdown", line, sizeof line))
		state = strstr(line, "PTI") ? "on" : "off";
	printf("weaklink: guest pti %s\n", state);
}

static void tour_say_mitigations(void)
{
	struct dirent **entries;
	int count = scandir(TOUR_FLAWS, &entries, NULL, alphasort);
	const char *between = "";

	printf("weaklink: guest mitigations ");
	for (int i = 0; i < count; i++) {
		char path[sizeof TOUR_FLAWS + 256 + 1], line[256];

		snprintf(path, sizeof path, "%s/%s", TOUR_FLAWS, entries[i]->d_name);
		if (entries[i]->d_name[0] != '.' && tour_first_line(path, line, sizeof line)) {
			for (char *c = line; (c = strchr(c, ';')); )
				*c = ','; /* some values are lists joined by ';', which joins the entries here */
			printf("%s%s=%s", between, entries[i]->d_name, line);
			between = ";";
		}
		free(entries[i]);
	}
	if (count >= 0)
		free(entries);
	printf("%s\n", *between ? "" : "unknown");
}

/* Linux hands words of its command line that it does not know to init: name=value in the environment. */
static void tour_say_unknown_options(void)
{
	const char *between = "weaklink: guest unknown_options ";

	for (char **word = environ; getpid() == 1 && *word; word++) {
		int plain = 1;

		for (char *c = *word; *c; c++)
			plain &= *c > ' ' && *c < 0x7f;
		if (!plain || !strncmp(*word, "HOME=", 5) || !strncmp(*word, "TERM=", 5))
			continue;
		printf("%s%s", between, *word);
		between = " ";
	}
	if (*between == ' ')
		printf("\n");
}

void tour_guest_report(void)
{
	struct utsname name;

	if (!uname(&name))
		printf("weaklink: guest version %s %s\n", name.release, name.version);
	tour_say_file("clocksource", "/sys/devices/system/clocksource/clocksource0/current_clocksource");
	tour_say_vendor();
	tour_say_pti();
	tour_say_mitigations();
	tour_say_file("cmdline", "/proc/cmdline");
	tour_say_unknown_options();
}
