/* SPDX-License-Identifier: MIT */
/* The tour: one phase per known kernel question.  This file: arguments, the window around a phase, the report. */
#define _GNU_SOURCE
#include "tour.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "marker.h"

/* A test counts the calls of a window by defining this to something; see tests/unit/test_apps.py. */
#ifndef TOUR_WINDOW_HOOK
#define TOUR_WINDOW_HOOK(number, open)
#endif

#define TOUR_PHASES_MAX 64

enum tour_status { TOUR_NOT_RUN, TOUR_OK, TOUR_UNSUPPORTED, TOUR_FAILED };

struct tour_result {
	enum tour_status status;
	long ops;
	uint64_t tsc;
	char reason[160];
};

const struct tour_phase *const tour_phases[] = {
	&tour_null_call,
	&tour_clock_read,
	&tour_mutex_free,
	&tour_mutex_contended,
	&tour_condvar_pingpong,
	&tour_pipe_pingpong,
	&tour_pipe_throughput,
	&tour_malloc_one,
	&tour_malloc_several,
	&tour_page_touch,
	&tour_map_unmap,
	&tour_file_create,
	&tour_file_tree,
	&tour_file_write,
	&tour_file_read,
	&tour_shared_poll,
	&tour_tcp_pingpong,
	&tour_tcp_stream,
	&tour_epoll_100,
	&tour_poll_100,
	&tour_thread_create,
	&tour_fork_wait,
};
const size_t tour_phase_count = sizeof(tour_phases) / sizeof(tour_phases[0]);

char tour_folder[64];

static struct tour_result tour_results[TOUR_PHASES_MAX];
static struct tour_result *tour_current;
static atomic_flag tour_blamed;

/* The first complaint of a phase is its reason: what comes after it is mostly a consequence. */
static int tour_complain(enum tour_status status, const char *format, ...)
{
	if (!atomic_flag_test_and_set(&tour_blamed)) {
		va_list arguments;

		va_start(arguments, format);
		vsnprintf(tour_current->reason, sizeof tour_current->reason, format, arguments);
		va_end(arguments);
		tour_current->status = status;
	}
	return -1;
}

int tour_fail(const char *call, int error)
{
	int absent = error == ENOSYS || error == EPERM || error == EOPNOTSUPP || error == EAFNOSUPPORT ||
		     error == EPROTONOSUPPORT;

	return tour_complain(absent ? TOUR_UNSUPPORTED : TOUR_FAILED, "%s: %s", call, strerror(error));
}

int tour_short(const char *call, long moved)
{
	return moved < 0 ? tour_fail(call, errno) : tour_complain(TOUR_FAILED, "%s: ended after %ld bytes", call, moved);
}

int tour_wrong(const char *what)
{
	return tour_complain(TOUR_FAILED, "%s", what);
}

void tour_close(int *descriptor)
{
	if (*descriptor >= 0)
		close(*descriptor);
	*descriptor = -1;
}

void tour_close_pipe(int *ends)
{
	tour_close(&ends[0]);
	tour_close(&ends[1]);
}

void tour_settle(void)
{
	struct timespec wait = { 0, 10 * 1000 * 1000 };

	nanosleep(&wait, NULL);
}

/* Kept apart and small: begin marker, RDTSC, work, RDTSC, end marker, and no other call of ours in between. */
static __attribute__((noinline)) int tour_window(const struct tour_phase *phase, uint64_t *tsc)
{
	int (*run)(long) = phase->run;
	long ops = phase->ops;
	uint64_t begin, end;
	int failed;

	TOUR_WINDOW_HOOK(phase->number, 1);
	begin = weaklink_phase_begin((unsigned)phase->number);
	failed = run(ops);
	end = weaklink_phase_end();
	TOUR_WINDOW_HOOK(phase->number, 0);
	*tsc = end - begin;
	return failed;
}

static void tour_run_phase(const struct tour_phase *phase, struct tour_result *result)
{
	int failed;

	tour_current = result;
	atomic_flag_clear(&tour_blamed);

	failed = phase->setup(phase->warm);
	if (!failed) {
		tour_settle();
		failed = phase->run(phase->warm);
	}
	failed |= phase->finish(phase->warm);
	if (failed) /* no window at all: what the guest cannot do costs nothing, which is not zero */
		return;

	failed = phase->setup(phase->ops);
	if (!failed) {
		tour_settle();
		failed = tour_window(phase, &result->tsc);
	}
	failed |= phase->finish(phase->ops);
	if (!failed) {
		result->status = TOUR_OK;
		result->ops = phase->ops;
	}
}

static void tour_report(void)
{
	static const char *const words[] = { "not-run", "ok", "unsupported", "failed" };

	for (size_t i = 0; i < tour_phase_count; i++) {
		const struct tour_phase *phase = tour_phases[i];
		const struct tour_result *result = &tour_results[i];

		if (result->status == TOUR_NOT_RUN)
			continue;
		printf("weaklink: phase %d %s %s %ld %llu%s%s\n", phase->number, phase->name, words[result->status],
		       result->ops, (unsigned long long)result->tsc, result->reason[0] ? " " : "", result->reason);
	}
}

static void tour_list(void)
{
	for (size_t i = 0; i < tour_phase_count; i++)
		printf("%d\t%s\t%ld\t%s\t%s\n", tour_phases[i]->number, tour_phases[i]->name, tour_phases[i]->ops,
		       tour_phases[i]->op, tour_phases[i]->question);
}

/* As PID 1 there is nobody to return to: the host ends the machine. */
static int tour_leave(int code)
{
	fflush(stdout);
	if (getpid() == 1)
		for (;;)
			pause();
	return code;
}

static int tour_give_up(const char *text, const char *detail)
{
	printf("weaklink: error %s%s\n", text, detail);
	return tour_leave(2);
}

static long tour_find(const char *name, size_t length)
{
	for (size_t i = 0; i < tour_phase_count; i++)
		if (strlen(tour_phases[i]->name) == length && !strncmp(tour_phases[i]->name, name, length))
			return (long)i;
	return -1;
}

/* Marks the phases of a comma-separated list; returns the first name that is none, or NULL. */
static const char *tour_select(const char *list, char *chosen)
{
	memset(chosen, 0, TOUR_PHASES_MAX);
	for (const char *name = list;;) {
		size_t length = strcspn(name, ",");
		long found = tour_find(name, length);

		if (found < 0)
			return name;
		chosen[found] = 1;
		if (!name[length])
			return NULL;
		name += length + 1;
	}
}

static void *tour_nothing(void *argument)
{
	return argument;
}

/* libc takes short cuts until the first thread is made; every phase must find it in the same state. */
static void tour_become_threaded(void)
{
	pthread_t thread;

	if (!pthread_create(&thread, NULL, tour_nothing, NULL))
		pthread_join(thread, NULL);
}

int main(int argc, char **argv)
{
	static char chosen[TOUR_PHASES_MAX];
	long spin = 0;

	memset(chosen, 1, sizeof chosen);
	for (int i = 1; i < argc; i++) {
		char *end = NULL;

		if (!strcmp(argv[i], "--list")) {
			tour_list();
			return tour_leave(0);
		}
		if (!strcmp(argv[i], "--spin") && i + 1 < argc) {
			errno = 0;
			spin = strtol(argv[++i], &end, 10);
			if (errno || end == argv[i] || *end || spin < 0)
				return tour_give_up("--spin wants a count, not ", argv[i]);
		} else if (!strcmp(argv[i], "--phases") && i + 1 < argc) {
			const char *unknown = tour_select(argv[++i], chosen);

			if (unknown)
				return tour_give_up("unknown phase in --phases, at: ", unknown);
		} else {
			return tour_give_up("unknown argument ", argv[i]);
		}
	}

	signal(SIGPIPE, SIG_IGN); /* a peer that has gone is an error to report, not a death */
	tour_linux_init();
	snprintf(tour_folder, sizeof tour_folder, "/tmp/tour-%ld", (long)getpid());
	if (mkdir(tour_folder, 0700))
		return tour_give_up("cannot make a folder below /tmp: ", strerror(errno));
	tour_become_threaded();
	tour_guest_report();
	for (volatile long i = 0; i < spin; i++)
		;
	printf("weaklink: ready\n");
	fflush(stdout);
	tcdrain(STDOUT_FILENO); /* or the line would still be leaving through the serial port in the first phase */

	weaklink_arm();
	for (size_t i = 0; i < tour_phase_count; i++)
		if (chosen[i])
			tour_run_phase(tour_phases[i], &tour_results[i]);
	weaklink_disarm();

	rmdir(tour_folder);
	tour_report();
	printf("weaklink: done\n");
	return tour_leave(0);
}
