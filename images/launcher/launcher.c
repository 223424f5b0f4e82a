/* SPDX-License-Identifier: MIT */
/*
 * The first process of a Linux guest that runs a program of the user's: makes ready what a program expects to find,
 * starts it, waits for it, and says on the console how it ended.
 *
 * What to start is in /weaklink.launch: strings, each ended by a NUL: "env=NAME=VALUE"s and "arg=WORD"s, the program's
 * path being the first of the latter.  Its own argument "--spin" is a number of rounds to loop before that.  With the
 * argument "locate" the program is only loaded, and every file that then lies in its memory is named with its address,
 * in the words of glibc's loader (LD_DEBUG=files), but for every loader: profiler/machine/locate.py reads that.
 *
 * It is linked at an address of its own, so that its code cannot be taken for the program's.
 */
#define _GNU_SOURCE
#include "guest.h"
#include "marker.h"
#include "system.h"

#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define LAUNCH_FILE "/weaklink.launch"
#define LAUNCH_MOST 1000
#define LAUNCH_BREAKPOINT 0xccL

static char *launch_words[LAUNCH_MOST + 1], *launch_environment[LAUNCH_MOST + 1];

static void launch_end(void)
{
	fflush(stdout);
	reboot(RB_AUTOBOOT); /* QEMU was told to end instead */
	_exit(0);
}

static void launch_error(const char *what)
{
	printf("weaklink: error %s: %s\n", what, strerror(errno));
	launch_end();
}

static void launch_read(void)
{
	static char text[1 << 20];
	size_t words = 0, variables = 0;
	FILE *file = fopen(LAUNCH_FILE, "r");
	size_t size = file ? fread(text, 1, sizeof text - 1, file) : 0;

	if (file)
		fclose(file);
	for (char *entry = text; entry < text + size; entry += strlen(entry) + 1) {
		if (!strncmp(entry, "env=", 4) && variables < LAUNCH_MOST)
			launch_environment[variables++] = entry + 4;
		else if (!strncmp(entry, "arg=", 4) && words < LAUNCH_MOST)
			launch_words[words++] = entry + 4;
	}
	if (!words)
		launch_error(LAUNCH_FILE);
}

/* What a program may want beside what every app finds.  Whatever fails here shows in the program. */
static void launch_prepare(void)
{
	mkdir("/dev", 0755);
	mount("devtmpfs", "/dev", "devtmpfs", MS_NOSUID, NULL);
	mkdir("/dev/shm", 0777);
	mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777");
	sethostname("weaklink", 8);
}

/* In the child. */
static void launch_become(void)
{
	if (chdir("/tmp"))
		_exit(126);
	execve(launch_words[0], launch_words, launch_environment);
	printf("weaklink: error %s cannot be started: %s\n", launch_words[0], strerror(errno));
	fflush(stdout);
	_exit(127);
}

static unsigned long launch_entry(pid_t child)
{
	char path[64];
	Elf64_auxv_t entry;
	unsigned long found = 0;
	FILE *file;

	snprintf(path, sizeof path, "/proc/%d/auxv", (int)child);
	file = fopen(path, "r");
	while (file && fread(&entry, sizeof entry, 1, file) == 1)
		if (entry.a_type == AT_ENTRY)
			found = entry.a_un.a_val;
	if (file)
		fclose(file);
	return found;
}

/* What is to be added to a file's own addresses: nothing, if it is linked in place. */
static unsigned long launch_base(const char *path, unsigned long start)
{
	Elf64_Ehdr header = { .e_type = ET_DYN };
	FILE *file = fopen(path, "r");

	if (file) {
		if (fread(&header, sizeof header, 1, file) != 1)
			header.e_type = ET_DYN;
		fclose(file);
	}
	return header.e_type == ET_EXEC ? 0 : start;
}

/* Lets the loader do its work, up to the program's first instruction, and says where everything is. */
static void launch_locate(void)
{
	char path[64], line[4096], name[4096], before[4096] = "";
	unsigned long entry, word, start, end, offset;
	pid_t child = fork();
	int status;
	FILE *maps;

	if (!child) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		launch_become();
	}
	if (child < 0 || waitpid(child, &status, 0) != child || !WIFSTOPPED(status))
		launch_error("the program cannot be loaded");
	entry = launch_entry(child);
	errno = 0;
	word = (unsigned long)ptrace(PTRACE_PEEKTEXT, child, (void *)entry, NULL);
	if (errno || ptrace(PTRACE_POKETEXT, child, (void *)entry, (void *)((word & ~0xffUL) | LAUNCH_BREAKPOINT)))
		launch_error("the program's entry point cannot be reached");
	ptrace(PTRACE_CONT, child, NULL, NULL);
	if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP) {
		errno = ECHILD;
		launch_error("the program ended while it was loaded");
	}
	snprintf(path, sizeof path, "/proc/%d/maps", (int)child);
	maps = fopen(path, "r");
	while (maps && fgets(line, sizeof line, maps)) {
		if (sscanf(line, "%lx-%lx %*s %lx %*s %*s %4095s", &start, &end, &offset, name) != 4 || name[0] != '/')
			continue;
		if (strcmp(name, before)) {
			printf("file=%s [0];  generating link map\n", name);
			printf("  dynamic: 0x0  base: 0x%lx   size: 0x%lx\n", launch_base(name, start), end - start);
		}
		strcpy(before, name);
	}
	printf("transferring control: %s\n", launch_words[0]);
	kill(child, SIGKILL);
	launch_end();
}

static void launch_run(unsigned long spin)
{
	int status;
	pid_t child, other;

	printf("weaklink: ready\n");
	fflush(stdout);
	for (volatile unsigned long i = 0; i < spin; i++)
		;
	child = fork();
	if (!child)
		launch_become();
	if (child < 0)
		launch_error("fork");
	do
		other = waitpid(-1, &status, 0); /* what lost its parent is ours too */
	while (other != child && (other > 0 || errno == EINTR));
	weaklink_ended(); /* the latest end of the window */
	weaklink_disarm();
	if (other != child)
		launch_error("waitpid");
	if (WIFSIGNALED(status))
		printf("weaklink: signal %d\n", WTERMSIG(status));
	else
		printf("weaklink: exit %d\n", WEXITSTATUS(status));
	printf("weaklink: done\n");
	launch_end();
}

int main(int argc, char **argv)
{
	app_system_start();
	launch_prepare();
	launch_read();
	app_guest_report();
	if (argc > 1 && !strcmp(argv[1], "locate"))
		launch_locate();
	launch_run(argc > 2 && !strcmp(argv[1], "--spin") ? strtoul(argv[2], NULL, 10) : 0);
}
