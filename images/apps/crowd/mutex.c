/* SPDX-License-Identifier: MIT */
/*
 * mutex: so many threads go round a ring of one mutex more, each taking the next before it lets go of its own.
 *
 * One mutex is free, so only the thread behind it can move, and by moving it frees the one that the next waits for: nearly
 * every lock blocks and every unlock wakes, on one vCPU too (docs/tour.md, mutex-contended).  When the window opens main
 * holds the mutex that would be free, and all wait.
 */
#include "crowd.h"

#include <pthread.h>

static pthread_mutex_t crowd_ring[CROWD_MOST + 1];
static long crowd_counts[CROWD_MOST + 1]; /* each guarded by its mutex */
static pthread_barrier_t crowd_placed;
static int crowd_places, crowd_held;

static int crowd_go_round(int index, long ops)
{
	int threads = crowd_places - 1;
	long share = ops / threads + (index < ops % threads), place = index;
	int failed = pthread_mutex_lock(&crowd_ring[place]);

	pthread_barrier_wait(&crowd_placed);
	for (long i = 0; i < share && !failed; i++) {
		long next = (place + 1) % crowd_places;

		failed = pthread_mutex_lock(&crowd_ring[next]);
		crowd_counts[next]++;
		pthread_mutex_unlock(&crowd_ring[place]);
		place = next;
	}
	pthread_mutex_unlock(&crowd_ring[place]);
	return failed ? app_wrong("pthread_mutex_lock failed") : 0;
}

int crowd_mutex_setup(int count, long ops)
{
	crowd_places = count + 1;
	crowd_held = 0;
	for (int i = 0; i < crowd_places; i++) {
		pthread_mutex_init(&crowd_ring[i], NULL);
		crowd_counts[i] = 0;
	}
	pthread_barrier_init(&crowd_placed, NULL, (unsigned)count);
	if (pthread_mutex_lock(&crowd_ring[count]))
		return app_wrong("pthread_mutex_lock failed");
	crowd_held = 1;
	return crowd_start(count, crowd_go_round, ops);
}

int crowd_mutex_run(int count, long ops)
{
	(void)ops;
	crowd_held = 0;
	pthread_mutex_unlock(&crowd_ring[count]);
	crowd_wait();
	return 0;
}

int crowd_mutex_finish(int count, long ops)
{
	long sum = 0;
	int failed;

	if (crowd_held)
		pthread_mutex_unlock(&crowd_ring[count]);
	failed = crowd_join();
	for (int i = 0; i < crowd_places; i++) {
		sum += crowd_counts[i];
		pthread_mutex_destroy(&crowd_ring[i]);
	}
	pthread_barrier_destroy(&crowd_placed);
	return failed ? -1 : sum == ops ? 0 : app_wrong("the counts under the mutexes are wrong");
}
