/* SPDX-License-Identifier: MIT */
/* Worker threads that exist before the window and end after it. */
#include "tour.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>

static struct {
	pthread_t threads[TOUR_WORKERS];
	int failed[TOUR_WORKERS];
	int count;
	int gone;      /* let go */
	int cancelled; /* let go only to end */
	tour_work work;
	long ops;
	sem_t start;
	sem_t done;
	pthread_barrier_t leave;
} tour_crew;

static void tour_sem_take(sem_t *semaphore)
{
	while (sem_wait(semaphore) && errno == EINTR)
		;
}

static void *tour_worker(void *argument)
{
	int index = (int)(intptr_t)argument;
	void *volatile block = malloc(1); /* a thread's first allocation makes its arena: not in the window */

	free(block);

	tour_sem_take(&tour_crew.start);
	if (!tour_crew.cancelled)
		tour_crew.failed[index] = tour_crew.work(index, tour_crew.ops);
	sem_post(&tour_crew.done);
	pthread_barrier_wait(&tour_crew.leave);
	return NULL;
}

int tour_workers_start(int count, tour_work work, long ops)
{
	int error = 0;

	tour_crew.count = tour_crew.gone = tour_crew.cancelled = 0;
	tour_crew.work = work;
	tour_crew.ops = ops;
	if (sem_init(&tour_crew.start, 0, 0) || sem_init(&tour_crew.done, 0, 0))
		return app_fail("sem_init", errno);
	while (tour_crew.count < count) {
		int index = tour_crew.count;

		tour_crew.failed[index] = 0;
		error = pthread_create(&tour_crew.threads[index], NULL, tour_worker, (void *)(intptr_t)index);
		if (error)
			break;
		tour_crew.count++;
	}
	/* nobody gets there before being let go, so the number is known by now */
	pthread_barrier_init(&tour_crew.leave, NULL, (unsigned)tour_crew.count + 1);
	return error ? app_fail("pthread_create", error) : 0;
}

void tour_workers_go(void)
{
	tour_crew.gone = 1;
	for (int i = 0; i < tour_crew.count; i++)
		sem_post(&tour_crew.start);
}

void tour_workers_wait(void)
{
	for (int i = 0; i < tour_crew.count; i++)
		tour_sem_take(&tour_crew.done);
}

int tour_workers_join(void)
{
	int failed = 0;

	if (!tour_crew.count)
		return 0;
	if (!tour_crew.gone) {
		tour_crew.cancelled = 1;
		tour_workers_go();
	}
	pthread_barrier_wait(&tour_crew.leave);
	for (int i = 0; i < tour_crew.count; i++) {
		pthread_join(tour_crew.threads[i], NULL);
		failed |= tour_crew.failed[i];
	}
	tour_crew.count = 0;
	pthread_barrier_destroy(&tour_crew.leave);
	sem_destroy(&tour_crew.start);
	sem_destroy(&tour_crew.done);
	return failed ? -1 : 0;
}
