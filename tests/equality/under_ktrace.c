/* SPDX-License-Identifier: MIT */
/*
 * A FreeBSD program that has itself traced by ktrace(2) within the probe's window, and afterwards says on the console, in
 * hexadecimal, what the kernel wrote: both observers, one run.
 */
#include "marker.h"

#include <sys/param.h>
#include <sys/ktrace.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define TRACE "/tmp/trace"

enum { THREADS = 3, ROUNDS = 12, BYTES = 512, NO_SUCH_CALL = 699 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turned = PTHREAD_COND_INITIALIZER;
static int turn;

static void files(void)
{
	char bytes[BYTES] = "text", name[32];
	struct iovec parts[2] = { { bytes, BYTES / 2 }, { bytes + BYTES / 2, BYTES / 2 } };

	for (int i = 0; i < ROUNDS; i++) {
		snprintf(name, sizeof name, "/tmp/file%d", i);
		int file = open(name, O_CREAT | O_RDWR, 0600);

		write(file, bytes, sizeof bytes);
		pwrite(file, bytes, sizeof bytes, 100);
		writev(file, parts, 2);
		lseek(file, 0, SEEK_SET);
		read(file, bytes, sizeof bytes);
		close(file);
		close(file);
		access("/nowhere", F_OK);
		unlink(name);
		rmdir(name);
	}
}

/* A pipe each way, and a child that answers. */
static void processes(void)
{
	int to[2], from[2];
	char byte = 'x';
	pid_t child;

	pipe(to);
	pipe(from);
	child = fork();
	if (!child) {
		for (int i = 0; i < ROUNDS; i++) {
			read(to[0], &byte, 1);
			getppid();
			write(from[1], &byte, 1);
		}
		_exit(0);
	}
	for (int i = 0; i < ROUNDS; i++) {
		write(to[1], &byte, 1);
		read(from[0], &byte, 1);
	}
	waitpid(child, NULL, 0);
	if (!vfork())
		_exit(1);
	wait(NULL);
}

static void *take_turns(void *which)
{
	long mine = (long)which;

	for (int round = 0; round < ROUNDS; round++) {
		pthread_mutex_lock(&lock);
		while (turn % THREADS != mine)
			pthread_cond_wait(&turned, &lock);
		turn++;
		pthread_cond_broadcast(&turned);
		pthread_mutex_unlock(&lock);
		sched_yield();
	}
	return NULL;
}

static void threads(void)
{
	pthread_t threads[THREADS];

	for (long i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, take_turns, (void *)i);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

static void on_alarm(int number)
{
	(void)number;
}

/* A call that a signal's handler ends, and one that is begun anew behind it. */
static void interrupted(void)
{
	struct itimerval soon = { .it_value = { .tv_usec = 3000 } };
	struct timespec pause_for = { .tv_nsec = 20 * 1000 * 1000 };
	struct sigaction action = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
	int ends[2];
	pid_t child;

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &soon, NULL);
	nanosleep(&pause_for, NULL);
	pipe(ends);
	child = fork();
	if (!child) {
		nanosleep(&pause_for, NULL);
		_exit(write(ends[1], "x", 1) != 1);
	}
	setitimer(ITIMER_REAL, &soon, NULL);
	read(ends[0], &soon, 1);
	waitpid(child, NULL, 0);
}

static void odd(void)
{
	signal(SIGSYS, SIG_IGN);
	syscall(NO_SUCH_CALL);
	syscall(SYS_getpid); /* by way of a call that makes others */
	read(-1, NULL, 0);
}

/* The calls of other programs take longer than this one's end: user code that is preempted. */
static void compute(void)
{
	pid_t child = fork();

	for (volatile long i = 0; i < 20 * 1000 * 1000; i++)
		;
	if (!child)
		_exit(0);
	waitpid(child, NULL, 0);
}

static void say_trace(void)
{
	static unsigned char bytes[64];
	int file = open(TRACE, O_RDONLY);
	long total = 0, n;

	while ((n = read(file, bytes, sizeof bytes)) > 0) {
		printf("ktrace: ");
		for (long i = 0; i < n; i++)
			printf("%02x", bytes[i]);
		printf("\n");
		total += n;
	}
	printf("equality: %ld bytes\n", total);
}

int main(void)
{
	int file = open(TRACE, O_CREAT | O_RDWR, 0600), all = KTRFAC_SYSCALL | KTRFAC_SYSRET | KTRFAC_CSW, failed;
	pid_t self = getpid();

	close(file);
	printf("weaklink: ready\n");
	fflush(stdout);
	tcdrain(STDOUT_FILENO);
	weaklink_arm();
	uint64_t began = weaklink_phase_begin(1);
	failed = ktrace(TRACE, KTROP_SET | KTRFLAG_DESCEND, all | KTRFAC_INHERIT, self);
	files();
	processes();
	threads();
	interrupted();
	odd();
	compute();
	ktrace(TRACE, KTROP_CLEAR | KTRFLAG_DESCEND, all, self);
	uint64_t ended = weaklink_phase_end();
	weaklink_disarm();
	printf("weaklink: phase 1 traced %s 1 %llu%s%s\n", failed ? "failed" : "ok", (unsigned long long)(ended - began),
	       failed ? " ktrace: " : "", failed ? strerror(errno) : "");
	say_trace();
	printf("weaklink: done\n");
	fflush(stdout);
	for (;;)
		pause();
}
