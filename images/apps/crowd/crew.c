/* SPDX-License-Identifier: MIT */
/* Threads that block before the window and end after it. */
#include "crowd.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>

static struct {
	pthread_t threads[CROWD_MOST];
	int failed[CROWD_MOST];
	int count;
	crowd_work work;
	long ops;
	sem_t start;
	sem_t done;
	pthread_barrier_t leave;
} crowd_crew;

static void crowd_take(sem_t *semaphore)
{
	while (sem_wait(semaphore) && errno == EINTR)
		;
}

static void *crowd_thread(void *argument)
{
	int index = (int)(intptr_t)argument;

	crowd_take(&crowd_crew.start);
	if (crowd_crew.work)
		crowd_crew.failed[index] = crowd_crew.work(index, crowd_crew.ops);
	sem_post(&crowd_crew.done);
	pthread_barrier_wait(&crowd_crew.leave);
	return NULL;
}

int crowd_start(int count, crowd_work work, long ops)
{
	int error = 0;

	crowd_crew.count = 0;
	crowd_crew.work = work;
	crowd_crew.ops = ops;
	if (sem_init(&crowd_crew.start, 0, 0) || sem_init(&crowd_crew.done, 0, 0))
		return app_fail("sem_init", errno);
	while (crowd_crew.count < count) {
		int index = crowd_crew.count;

		crowd_crew.failed[index] = 0;
		error = pthread_create(&crowd_crew.threads[index], NULL, crowd_thread, (void *)(intptr_t)index);
		if (error)
			break;
		crowd_crew.count++;
	}
	/* nobody gets there before being let go, so the number is known by now */
	pthread_barrier_init(&crowd_crew.leave, NULL, (unsigned)crowd_crew.count + 1);
	if (error)
		crowd_crew.work = NULL; /* they only end */
	for (int i = 0; i < crowd_crew.count; i++)
		sem_post(&crowd_crew.start);
	return error ? app_fail("pthread_create", error) : 0;
}

void crowd_wait(void)
{
	for (int i = 0; i < crowd_crew.count; i++)
		crowd_take(&crowd_crew.done);
}

int crowd_join(void)
{
	int failed = 0;

	if (!crowd_crew.count)
		return 0;
	pthread_barrier_wait(&crowd_crew.leave);
	for (int i = 0; i < crowd_crew.count; i++) {
		pthread_join(crowd_crew.threads[i], NULL);
		failed |= crowd_crew.failed[i];
	}
	crowd_crew.count = 0;
	pthread_barrier_destroy(&crowd_crew.leave);
	sem_destroy(&crowd_crew.start);
	sem_destroy(&crowd_crew.done);
	return failed ? -1 : 0;
}
