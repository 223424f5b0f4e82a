/* SPDX-License-Identifier: MIT */
/* Calls that fail a known number of times, threads that stop for known reasons, threads that come and go. */
#define _GNU_SOURCE
#include "app.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#ifdef __FreeBSD__
#include <pthread_np.h>
#endif

static int nothing(long ops)
{
	(void)ops;
	return 0;
}

/* ---- results: each line is so many calls of one outcome per round */

/* A system call that no libc function makes. */
static long bare(long number, long argument)
{
	long result;

	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(argument)
			 : "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "memory", "cc");
	return result;
}

static int results_run(long ops)
{
	volatile int no_clock = 12345;
	struct timespec moment = { 0, 1 };

	for (long i = 0; i < ops; i++) {
		void *block = malloc(100);
		int file = open("/", O_RDONLY);

		if (!block || opendir("/no/such/folder") || file < 0 || open("/no/such/file", O_RDONLY) >= 0)
			return app_wrong("malloc, opendir or open");
		free(block);
		if (lseek(file, 0, SEEK_SET) != 0 || lseek(-1, 0, SEEK_SET) >= 0 || close(file) || !close(-1))
			return app_wrong("lseek or close");
		if (mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANON, -1, 0) != MAP_FAILED)
			return app_wrong("mmap");
		if (!posix_memalign(&block, 3, 100))
			return app_wrong("posix_memalign");
		clock_nanosleep(no_clock, 0, &moment, NULL); /* not every kernel minds */
		bare(SYS_close, -1);
		bare(SYS_getppid, 0);
	}
	return 0;
}

/* ---- signals: a handler runs before the call that sends it returns */

static volatile sig_atomic_t handled;

static void on_signal(int number)
{
	(void)number;
	handled++;
}

static int signals_setup(long ops)
{
	(void)ops;
	handled = 0;
	return signal(SIGUSR1, on_signal) == SIG_ERR ? app_fail("signal", errno) : 0;
}

static int signals_run(long ops)
{
	for (long i = 0; i < ops; i++)
		raise(SIGUSR1);
	return 0;
}

/* ---- a second thread, which waits to be let go */

static pthread_t other;
static sem_t gate, over;
static long (*other_work)(long ops);
static long other_ops;

static void *other_thread(void *none)
{
	while (sem_wait(&gate) && errno == EINTR)
		;
	other_work(other_ops);
	sem_post(&over);
	return none;
}

static int other_start(long (*work)(long), long ops)
{
	other_work = work;
	other_ops = ops;
	if (sem_init(&gate, 0, 0) || sem_init(&over, 0, 0))
		return app_fail("sem_init", errno);
	int error = pthread_create(&other, NULL, other_thread, NULL);
	return error ? app_fail("pthread_create", error) : 0;
}

static int other_finish(long ops)
{
	(void)ops;
	pthread_join(other, NULL);
	return 0;
}

/* ---- yields */

static long yields(long ops)
{
	for (long i = 0; i < ops; i++)
		sched_yield();
	return 0;
}

static int yields_setup(long ops)
{
	return other_start(yields, ops);
}

static int yields_run(long ops)
{
	sem_post(&gate);
	yields(ops);
	sem_wait(&over);
	return 0;
}

/* ---- spins: whose turn it is changes only while the other one runs */

static atomic_long turn;

static long spin(long me, long ops)
{
	for (long i = 0; i < ops; i++) {
		while (atomic_load_explicit(&turn, memory_order_relaxed) != 2 * i + me)
			;
		atomic_store(&turn, 2 * i + me + 1);
	}
	return 0;
}

static long spin_other(long ops)
{
	return spin(1, ops);
}

static int spins_setup(long ops)
{
	turn = 0;
	return other_start(spin_other, ops);
}

static int spins_run(long ops)
{
	sem_post(&gate);
	spin(0, ops);
	sem_wait(&over);
	return 0;
}

/* ---- threads: each names itself */

static void *named(void *number)
{
	char name[16];

	snprintf(name, sizeof name, "worker-%ld", (long)(intptr_t)number);
#ifdef __FreeBSD__
	pthread_set_name_np(pthread_self(), name);
#else
	pthread_setname_np(pthread_self(), name);
#endif
	return NULL;
}

static int threads_run(long ops)
{
	for (long i = 0; i < ops; i++) {
		int error = pthread_create(&other, NULL, named, (void *)(intptr_t)i);

		if (error)
			return app_fail("pthread_create", error);
		pthread_join(other, NULL);
	}
	return 0;
}

/* ---- sleeps */

static int sleeps_run(long ops)
{
	struct timespec moment = { 0, 3 * 1000 * 1000 };

	for (long i = 0; i < ops; i++)
		if (nanosleep(&moment, NULL))
			return app_fail("nanosleep", errno);
	return 0;
}

const char app_name[] = "outcomes";

static const struct app_phase results = { 1, "results", "round", "Which calls fail?", 31, 3, nothing, results_run, nothing };
static const struct app_phase signals = { 2, "signals", "signal", "What of a call that a signal handler interrupts?",
	17, 3, signals_setup, signals_run, nothing };
static const struct app_phase gives = { 3, "yields", "yield of both", "Who gives way?",
	101, 3, yields_setup, yields_run, other_finish };
static const struct app_phase made = { 4, "spins", "turn of both", "Who is made to give way?",
	3, 1, spins_setup, spins_run, other_finish };
static const struct app_phase threads = { 5, "threads", "thread", "Who comes and goes, under which name?",
	11, 2, nothing, threads_run, nothing };
static const struct app_phase sleeps = { 6, "sleeps", "sleep", "Who waits for the clock?", 7, 2, nothing, sleeps_run, nothing };

const struct app_phase *const app_phases[] = { &results, &signals, &gives, &made, &threads, &sleeps };
const size_t app_phase_count = sizeof(app_phases) / sizeof(app_phases[0]);
