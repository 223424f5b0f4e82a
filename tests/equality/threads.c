/* SPDX-License-Identifier: MIT */
/* Threads that wait for each other in every way that ends in a futex, signals that interrupt them, and odd calls. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 4, ROUNDS = 40, READINGS = 1000 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turned = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t barrier;
static int turn;
static long sum;

static void *take_turns(void *which)
{
	long mine = (long)which;

	pthread_barrier_wait(&barrier);
	for (int round = 0; round < ROUNDS; round++) {
		pthread_mutex_lock(&lock);
		while (turn % THREADS != mine)
			pthread_cond_wait(&turned, &lock);
		turn++;
		if (round % 8 == 0)
			sched_yield();
		pthread_cond_broadcast(&turned);
		pthread_mutex_unlock(&lock);
	}
	return NULL;
}

/* Never gets on: it is still in its call when the program ends. */
static void *blocked(void *none)
{
	pause();
	return none;
}

static void on_alarm(int number)
{
	(void)number;
}

/* A call that is begun anew behind a signal's handler, one that is not, and one that goes on as another call. */
static void interrupted(void)
{
	struct itimerval soon = { .it_value = { .tv_usec = 3000 } };
	struct timespec pause_for = { .tv_nsec = 20 * 1000 * 1000 }, left;
	struct sigaction action = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
	int ends[2];
	pid_t child;

	sigaction(SIGALRM, &action, NULL);
	if (pipe(ends))
		exit(1);
	child = fork();
	if (!child) { /* writes later than the alarm comes */
		nanosleep(&pause_for, NULL);
		_exit(write(ends[1], "x", 1) != 1);
	}
	setitimer(ITIMER_REAL, &soon, NULL);
	if (read(ends[0], ends, 1) != 1)
		exit(1);
	waitpid(child, NULL, 0);
	setitimer(ITIMER_REAL, &soon, NULL);
	if (nanosleep(&pause_for, &left) == 0 || errno != EINTR)
		exit(1);
	child = fork();
	if (!child) {
		nanosleep(&pause_for, NULL);
		_exit(0);
	}
	nanosleep(&left, NULL);
	kill(child, SIGSTOP);
	nanosleep(&left, NULL);
	kill(child, SIGCONT); /* it is asleep: restart_syscall */
	waitpid(child, NULL, 0);
}

int main(void)
{
	pthread_t threads[THREADS], other;
	struct timespec now;

	pthread_barrier_init(&barrier, NULL, THREADS);
	for (long i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, take_turns, (void *)i);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < READINGS; i++) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		sum += now.tv_nsec;
	}
	interrupted();
	syscall(499, 1);                    /* within the table's size on no kernel yet: no such call */
	syscall(SYS_read, -1, NULL, 0);     /* fails */
	syscall(SYS_get_kernel_syms);       /* in the table, and not implemented */
	for (int i = 0; i < 3; i++) {       /* getpid, by the old gate */
		long number = 20;

		__asm__ volatile("int $0x80" : "+a"(number) : : "memory", "r8", "r9", "r10", "r11");
		sum += number;
	}
	pthread_create(&other, NULL, blocked, NULL);
	nanosleep(&(struct timespec){ .tv_nsec = 20 * 1000 * 1000 }, NULL);
	printf("clock_gettime %d\n", READINGS);
	return 0;
}
