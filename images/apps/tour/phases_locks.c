/* SPDX-License-Identifier: MIT */
/* Locks and condition variables. */
#define _GNU_SOURCE
#include "tour.h"

#include <pthread.h>
#include <stdatomic.h>

static pthread_mutex_t tour_mutex = PTHREAD_MUTEX_INITIALIZER;
static volatile long tour_mutex_count; /* guarded by it */

static int tour_mutex_free_finish(long ops)
{
	return tour_mutex_count == ops ? 0 : app_wrong("the count under the mutex is wrong");
}

/* ---- mutex-free: nobody else wants it */

static int tour_mutex_free_setup(long ops)
{
	(void)ops;
	tour_mutex_count = 0;
	return 0;
}

static int tour_mutex_free_run(long ops)
{
	for (long i = 0; i < ops; i++) {
		if (pthread_mutex_lock(&tour_mutex))
			return app_wrong("pthread_mutex_lock failed");
		tour_mutex_count++;
		if (pthread_mutex_unlock(&tour_mutex))
			return app_wrong("pthread_mutex_unlock failed");
	}
	return 0;
}

const struct app_phase tour_mutex_free = {
	3, "mutex-free", "lock and unlock", "What does a mutex cost that nobody else wants?",
	40009, 101, tour_mutex_free_setup, tour_mutex_free_run, tour_mutex_free_finish,
};

/*
 * ---- mutex-contended: three workers go round a ring of four mutexes, each taking the next before it lets go of its own
 *
 * On one vCPU nobody meets a held mutex unless its holder gives up the vCPU, and a holder that yields is not enough: on
 * Linux 6.1 its rivals did not get their turn in 499 yields (docs/tour.md).  In the ring one mutex is free; only the
 * worker behind it can move, and by moving it frees the mutex that the one behind waits for, and runs into the one in
 * front.  So nearly every lock blocks and every unlock wakes, whatever the scheduler does.  When the window opens main
 * holds the mutex that would be free, and all workers wait.
 */

#define TOUR_RIVALS 3
#define TOUR_RING (TOUR_RIVALS + 1)

static struct {
	pthread_mutex_t mutex;
	long count;      /* guarded by mutex */
	atomic_int held;
} tour_ring[TOUR_RING];
static pthread_barrier_t tour_ring_ready;
static atomic_long tour_met; /* how often the mutex that was wanted was held */

static void tour_ring_leave(long place)
{
	atomic_store_explicit(&tour_ring[place].held, 0, memory_order_relaxed);
	pthread_mutex_unlock(&tour_ring[place].mutex);
}

static int tour_ring_take(long place)
{
	if (pthread_mutex_lock(&tour_ring[place].mutex))
		return app_wrong("pthread_mutex_lock failed");
	atomic_store_explicit(&tour_ring[place].held, 1, memory_order_relaxed);
	return 0;
}

static int tour_go_round(int index, long ops)
{
	long share = ops / TOUR_RIVALS + (index < ops % TOUR_RIVALS);
	long place = index, met = 0;
	int failed = tour_ring_take(place);

	pthread_barrier_wait(&tour_ring_ready);
	for (long i = 0; i < share && !failed; i++) {
		long next = (place + 1) % TOUR_RING;

		met += atomic_load_explicit(&tour_ring[next].held, memory_order_relaxed);
		failed = tour_ring_take(next);
		tour_ring[next].count++;
		tour_ring_leave(place);
		place = next;
	}
	tour_ring_leave(place);
	atomic_fetch_add(&tour_met, met);
	return failed;
}

static int tour_mutex_contended_setup(long ops)
{
	atomic_store(&tour_met, 0);
	for (int i = 0; i < TOUR_RING; i++) {
		pthread_mutex_init(&tour_ring[i].mutex, NULL);
		tour_ring[i].count = 0;
	}
	pthread_barrier_init(&tour_ring_ready, NULL, TOUR_RIVALS);
	if (tour_workers_start(TOUR_RIVALS, tour_go_round, ops) || tour_ring_take(TOUR_RING - 1))
		return -1;
	tour_workers_go();
	return 0;
}

static int tour_mutex_contended_run(long ops)
{
	(void)ops;
	tour_ring_leave(TOUR_RING - 1);
	tour_workers_wait();
	return 0;
}

static int tour_mutex_contended_finish(long ops)
{
	int failed = tour_workers_join();
	long sum = 0;

	for (int i = 0; i < TOUR_RING; i++) {
		sum += tour_ring[i].count;
		pthread_mutex_destroy(&tour_ring[i].mutex);
	}
	pthread_barrier_destroy(&tour_ring_ready);
	if (!failed && sum != ops)
		return app_wrong("the counts under the mutexes are wrong");
	if (!failed && atomic_load(&tour_met) < ops / 4)
		return app_wrong("the mutexes were hardly ever contended");
	return failed;
}

const struct app_phase tour_mutex_contended = {
	4, "mutex-contended", "lock and unlock", "What does a mutex cost that another thread holds, and that a third wants?",
	1009, 31, tour_mutex_contended_setup, tour_mutex_contended_run, tour_mutex_contended_finish,
};

/*
 * ---- condvar-pingpong
 *
 * The worker is let go before the window: it waits on the condition when the window opens.  Whoever takes the turn holds
 * the mutex until its own next wait, so it always has to wait, and the number of waits is exact.
 */

static pthread_cond_t tour_turned = PTHREAD_COND_INITIALIZER;
static int tour_turn; /* guarded by tour_mutex: 0 main's, 1 the worker's */
static long tour_turns;

static int tour_condvar_worker(int index, long ops)
{
	(void)index;
	pthread_mutex_lock(&tour_mutex);
	while (tour_turns < ops) {
		while (!tour_turn)
			pthread_cond_wait(&tour_turned, &tour_mutex);
		tour_turns++;
		tour_turn = 0;
		pthread_cond_signal(&tour_turned);
	}
	pthread_mutex_unlock(&tour_mutex);
	return 0;
}

static int tour_condvar_pingpong_setup(long ops)
{
	tour_turn = 0;
	tour_turns = 0;
	if (tour_workers_start(1, tour_condvar_worker, ops))
		return -1;
	tour_workers_go();
	return 0;
}

static int tour_condvar_pingpong_run(long ops)
{
	pthread_mutex_lock(&tour_mutex);
	for (long i = 0; i < ops; i++) {
		tour_turn = 1;
		pthread_cond_signal(&tour_turned);
		while (tour_turn)
			pthread_cond_wait(&tour_turned, &tour_mutex);
	}
	pthread_mutex_unlock(&tour_mutex);
	tour_workers_wait();
	return 0;
}

static int tour_condvar_pingpong_finish(long ops)
{
	int failed = tour_workers_join();

	if (!failed && tour_turns != ops)
		return app_wrong("the worker had another number of turns");
	return failed;
}

const struct app_phase tour_condvar_pingpong = {
	5, "condvar-pingpong", "round trip",
	"What does it cost to wake another thread through a condition variable and be woken by it?",
	401, 17, tour_condvar_pingpong_setup, tour_condvar_pingpong_run, tour_condvar_pingpong_finish,
};
