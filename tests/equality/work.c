/* SPDX-License-Identifier: MIT */
/* The same work for OSv's tracepoints to see: threads that wait for each other, pipes, files; between two odd calls. */
#define _GNU_SOURCE
#include "marker.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 3, ROUNDS = 12, BYTES = 512 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER, held = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turned = PTHREAD_COND_INITIALIZER;
static int turn, to[2], from[2];

static void files(void)
{
	char bytes[BYTES] = "text", name[32];
	struct stat about;

	for (int i = 0; i < ROUNDS; i++) {
		snprintf(name, sizeof name, "/tmp/file%d", i);
		int file = open(name, O_CREAT | O_RDWR, 0600);

		write(file, bytes, sizeof bytes);
		pwrite(file, bytes, sizeof bytes, 100);
		lseek(file, 0, SEEK_SET);
		read(file, bytes, sizeof bytes);
		fstat(file, &about);
		close(file);
		close(file);
		open("/nowhere", O_RDONLY);
		unlink(name);
		rmdir(name);
	}
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
		pthread_mutex_lock(&held); /* and holds it while it sleeps: the others have to wait */
		nanosleep(&(struct timespec){ .tv_nsec = 100 * 1000 }, NULL);
		pthread_mutex_unlock(&held);
	}
	return NULL;
}

static void *answer(void *none)
{
	char byte;

	for (int i = 0; i < ROUNDS; i++) {
		read(to[0], &byte, 1);
		write(from[1], &byte, 1);
	}
	return none;
}

/* Computes longer than a time slice. */
static void *compute(void *none)
{
	for (volatile long i = 0; i < 20 * 1000 * 1000; i++)
		;
	return none;
}

static void threads(void)
{
	pthread_t turns[THREADS], other;
	char byte = 'x';

	for (long i = 0; i < THREADS; i++)
		pthread_create(&turns[i], NULL, take_turns, (void *)i);
	for (int i = 0; i < THREADS; i++)
		pthread_join(turns[i], NULL);
	pipe(to);
	pipe(from);
	pthread_create(&other, NULL, answer, NULL);
	for (int i = 0; i < ROUNDS; i++) {
		write(to[1], &byte, 1);
		read(from[0], &byte, 1);
	}
	pthread_join(other, NULL);
	pthread_create(&other, NULL, compute, NULL);
	compute(NULL);
	pthread_join(other, NULL);
}

int main(void)
{
	for (volatile long i = 0; i < 1000 * 1000; i++) /* the console's line is out, and the disk's last answer in */
		;
	printf("weaklink: ready\n");
	fflush(stdout);
	nanosleep(&(struct timespec){ .tv_nsec = 500 * 1000 * 1000 }, NULL);
	weaklink_arm();
	uint64_t began = weaklink_phase_begin(1);
	close(1007);
	files();
	threads();
	close(1008);
	uint64_t ended = weaklink_phase_end();
	weaklink_disarm();
	printf("weaklink: phase 1 traced ok 1 %llu\n", (unsigned long long)(ended - began));
	printf("weaklink: done\n");
	fflush(stdout);
	for (;;)
		pause();
}
