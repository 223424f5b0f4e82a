/* SPDX-License-Identifier: MIT */
/* Known numbers of calls at known depths: recursion, tail calls, longjmp, two threads by turns, signals' handlers. */
#define _GNU_SOURCE
#include "app.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <unistd.h>

#define DEPTH 7
#define DEEP 700 /* deeper than what is shown */

static volatile long touched;

static int nothing(long ops)
{
	(void)ops;
	return 0;
}

static void stacks_leaf(void)
{
	touched++;
}

/* ---- recursion: DEPTH frames of stacks_down, in each of which stacks_leaf is called twice */

static void stacks_down(int depth)
{
	stacks_leaf();
	if (depth > 1)
		stacks_down(depth - 1);
	stacks_leaf();
}

static int recursion_run(long ops)
{
	for (long i = 0; i < ops; i++)
		stacks_down(DEPTH);
	return 0;
}

static int deep_run(long ops)
{
	for (long i = 0; i < ops; i++)
		stacks_down(DEEP);
	return 0;
}

/* ---- tail calls: first jumps to second, which jumps to third; a pointer calls each by turns */

static void stacks_third(void)
{
	stacks_leaf();
	touched++;
}

static void stacks_second(void)
{
	stacks_leaf();
	stacks_third();
}

static void stacks_first(void)
{
	stacks_leaf();
	stacks_second();
}

static void (*volatile stacks_either[2])(void) = { stacks_first, stacks_third };

static int tails_run(long ops)
{
	for (long i = 0; i < ops; i++) {
		stacks_either[0]();
		stacks_either[1]();
	}
	return 0;
}

/* ---- longjmp, from DEPTH frames of stacks_sink back to stacks_jump, which calls stacks_leaf then */

static jmp_buf stacks_back;

static void stacks_sink(int depth)
{
	if (depth == 1)
		longjmp(stacks_back, 1);
	stacks_sink(depth - 1);
	touched++;
}

static void stacks_jump(void)
{
	if (!setjmp(stacks_back))
		stacks_sink(DEPTH);
	stacks_leaf();
	touched++;
}

/* The frame that is jumped to has others of its function above and below. */
static void stacks_nested(int depth)
{
	jmp_buf outer;

	if (depth > 1) {
		stacks_nested(depth - 1);
		return;
	}
	__builtin_memcpy(&outer, &stacks_back, sizeof outer);
	stacks_jump();
	__builtin_memcpy(&stacks_back, &outer, sizeof outer);
}

static void stacks_again(int depth)
{
	if (depth == 3) {
		if (!setjmp(stacks_back))
			stacks_again(depth - 1);
		else
			stacks_leaf();
	} else if (depth > 1) {
		stacks_again(depth - 1);
	} else {
		longjmp(stacks_back, 1);
	}
	touched++;
}

static int jumps_run(long ops)
{
	for (long i = 0; i < ops; i++) {
		stacks_jump();
		stacks_nested(3);
		stacks_again(5);
	}
	return 0;
}

/* ---- two threads by turns */

static sem_t stacks_go, stacks_done;
static pthread_t stacks_other;
static long stacks_rounds;

static void stacks_theirs(void)
{
	stacks_leaf();
	touched++;
}

static void *stacks_thread(void *none)
{
	for (long i = 0; i < stacks_rounds; i++) {
		sem_wait(&stacks_go);
		stacks_theirs();
		sem_post(&stacks_done);
	}
	return none;
}

static int threads_setup(long ops)
{
	int error;

	stacks_rounds = ops;
	sem_init(&stacks_go, 0, 0);
	sem_init(&stacks_done, 0, 0);
	error = pthread_create(&stacks_other, NULL, stacks_thread, NULL);
	if (error)
		return app_fail("pthread_create", error);
	app_settle();
	return 0;
}

static void stacks_mine(void)
{
	sem_post(&stacks_go);
	sem_wait(&stacks_done);
	stacks_leaf();
}

static int threads_run(long ops)
{
	for (long i = 0; i < ops; i++)
		stacks_mine();
	return 0;
}

static int threads_finish(long ops)
{
	(void)ops;
	return pthread_join(stacks_other, NULL);
}

/* ---- signals */

static void stacks_handler(int number)
{
	(void)number;
	stacks_leaf();
	touched++;
}

static int signals_setup(long ops)
{
	struct sigaction action = { .sa_handler = stacks_handler };

	(void)ops;
	return sigaction(SIGUSR1, &action, NULL) ? app_fail("sigaction", errno) : 0;
}

static void stacks_raise(void)
{
	kill(getpid(), SIGUSR1);
	stacks_leaf();
}

static int signals_run(long ops)
{
	for (long i = 0; i < ops; i++)
		stacks_raise();
	return 0;
}

const char app_name[] = "stacks";

static const struct app_phase recursion = { 1, "recursion", "descent", "How deep is it?", 31, 2, nothing, recursion_run,
	nothing };
static const struct app_phase tails = { 2, "tails", "round", "Who calls whom at last?", 53, 2, nothing, tails_run, nothing };
static const struct app_phase jumps = { 3, "jumps", "jump", "What is left by longjmp?", 37, 2, nothing, jumps_run, nothing };
static const struct app_phase threads = { 4, "threads", "round", "Whose stack is it?", 41, 2, threads_setup, threads_run,
	threads_finish };
static const struct app_phase signals = { 5, "signals", "signal", "What of a handler's stack?", 17, 2, signals_setup,
	signals_run, nothing };
static const struct app_phase deep = { 6, "deep", "descent", "What of very deep ones?", 3, 2, nothing, deep_run, nothing };

const struct app_phase *const app_phases[] = { &recursion, &tails, &jumps, &threads, &signals, &deep };
const size_t app_phase_count = sizeof(app_phases) / sizeof(app_phases[0]);
