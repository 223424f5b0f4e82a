/* SPDX-License-Identifier: MIT */
/* Linux, and what runs its programs: being PID 1 of an initramfs, and what the kernel says of itself. */
#define _GNU_SOURCE
#include "../system.h"

#include <dirent.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

void app_system_start(void)
{
	/* The kernel checks the TSC for a second before it makes it the clock: not during the phases, please. */
	struct timespec boot = { 1, 500 * 1000 * 1000 };
	struct ifreq request;
	int channel;

	if (getpid() != 1)
		return;
	mkdir("/proc", 0555);
	mkdir("/sys", 0555);
	mkdir("/tmp", 0777);
	mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777");
	channel = socket(AF_INET, SOCK_DGRAM, 0);
	if (channel >= 0) {
		memset(&request, 0, sizeof request);
		strcpy(request.ifr_name, "lo");
		if (!ioctl(channel, SIOCGIFFLAGS, &request)) {
			request.ifr_flags |= IFF_UP;
			ioctl(channel, SIOCSIFFLAGS, &request);
		}
		close(channel);
	}
	nanosleep(&boot, NULL);
}

void app_system_small_pages(void *address, size_t length)
{
	madvise(address, length, MADV_NOHUGEPAGE); /* fails where there are no huge pages: just as well */
}

#define APP_FLAWS "/sys/devices/system/cpu/vulnerabilities"

/* The first line of a file, without control characters; 0 if there is none to read. */
static int app_first_line(const char *path, char *line, int size)
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

static void app_say_file(const char *key, const char *path)
{
	char line[4096];

	printf("weaklink: guest %s %s\n", key, app_first_line(path, line, sizeof line) ? line : "unknown");
}

/* Among the CPU's flags is what the kernel does on it: also on one that would not need it. */
static void app_say_pti(void)
{
	FILE *file = fopen("/proc/cpuinfo", "r");
	char line[8192];
	const char *state = "unknown";

	while (file && fgets(line, sizeof line, file)) {
		if (strncmp(line, "flags", 5))
			continue;
		line[strcspn(line, "\n")] = ' ';
		state = strstr(line, " pti ") ? "on" : "off";
		break;
	}
	if (file)
		fclose(file);
	printf("weaklink: guest pti %s\n", state);
}

static void app_say_mitigations(void)
{
	struct dirent **entries;
	int count = scandir(APP_FLAWS, &entries, NULL, alphasort);
	const char *between = "";

	printf("weaklink: guest mitigations ");
	for (int i = 0; i < count; i++) {
		char path[sizeof APP_FLAWS + 256 + 1], line[256];

		snprintf(path, sizeof path, "%s/%s", APP_FLAWS, entries[i]->d_name);
		if (entries[i]->d_name[0] != '.' && app_first_line(path, line, sizeof line)) {
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
static void app_say_unknown_options(void)
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

void app_system_report(void)
{
	app_say_file("clocksource", "/sys/devices/system/clocksource/clocksource0/current_clocksource");
	app_say_pti();
	app_say_mitigations();
	app_say_file("cmdline", "/proc/cmdline");
	app_say_unknown_options();
}
