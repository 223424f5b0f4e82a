/* SPDX-License-Identifier: MIT */
/*
 * Runs a command under strace within the probe's window, and afterwards says on the console what strace wrote: both
 * observers, one run.  Linked at an address where no program is, so that nothing else's code is taken for its.
 */
#define _GNU_SOURCE
#include "marker.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOG "/tmp/strace.log"
#define MOST_WORDS 64

static void become(char **command)
{
	static char *words[MOST_WORDS] = { "strace", "-f", "-q", "-s", "0", "-o", LOG, "--" };
	int in = open("/dev/null", O_RDONLY), out = open("/tmp/said", O_CREAT | O_WRONLY | O_APPEND, 0644), n = 8;

	while (*command && n < MOST_WORDS - 1)
		words[n++] = *command++;
	dup2(in, 0);
	dup2(out, 1);
	dup2(out, 2);
	execv("/usr/bin/strace", words);
	_exit(127);
}

static int say(const char *prefix, const char *path)
{
	static char line[1 << 16];
	FILE *file = fopen(path, "r");
	int lines = 0;

	for (; file && fgets(line, sizeof line, file); lines++)
		printf("%s%s", prefix, line);
	if (file)
		fclose(file);
	return lines;
}

/* Something for a recursive ls to see. */
static void plant(const char *where, int depth)
{
	char name[256];

	for (int i = 0; i < 3; i++) {
		snprintf(name, sizeof name, "%s/%d", where, i);
		if (depth && !mkdir(name, 0755))
			plant(name, depth - 1);
		else
			symlink("nowhere", name);
	}
}

int main(int argc, char **argv)
{
	int status = -1;
	pid_t child;

	setvbuf(stdout, NULL, _IOLBF, 0);
	mkdir("/tmp/tree", 0755);
	plant("/tmp/tree", 4);
	weaklink_arm();
	uint64_t began = weaklink_phase_begin(1);
	child = fork();
	if (!child)
		become(argv + 1);
	waitpid(child, &status, 0);
	uint64_t ended = weaklink_phase_end();
	weaklink_disarm();
	printf("weaklink: phase 1 traced ok 1 %lu\n", (unsigned long)(ended - began));
	say("said: ", "/tmp/said");
	printf("equality: %d lines, status %d\n", say("strace: ", LOG), WEXITSTATUS(status));
	return argc > 1 && WIFEXITED(status) && WEXITSTATUS(status) != 127 ? 0 : 1;
}
