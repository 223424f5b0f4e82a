/* SPDX-License-Identifier: MIT */
/* An app: arguments, the window around each of its phases, the report. */
#define _GNU_SOURCE
#include "app.h"

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

#include "guest.h"
#include "marker.h"
#include "system.h"

/* A test counts the calls of a window by defining this to something; see tests/unit/test_apps.py. */
#ifndef APP_WINDOW_HOOK
#define APP_WINDOW_HOOK(number, open)
#endif

#define APP_PHASES_MAX 64

enum app_status { APP_NOT_RUN, APP_OK, APP_UNSUPPORTED, APP_FAILED };

struct app_result {
	enum app_status status;
	long ops;
	uint64_t tsc;
	char reason[160];
};

char app_folder[64];

static struct app_result app_results[APP_PHASES_MAX];
static struct app_result *app_current;
static atomic_flag app_blamed;

/* The first complaint of a phase is its reason: what comes after it is mostly a consequence. */
static int app_complain(enum app_status status, const char *format, ...)
{
	if (!atomic_flag_test_and_set(&app_blamed)) {
		va_list arguments;

		va_start(arguments, format);
		vsnprintf(app_current->reason, sizeof app_current->reason, format, arguments);
		va_end(arguments);
		app_current->status = status;
	}
	return -1;
}

int app_fail(const char *call, int error)
{
	int absent = error == ENOSYS || error == EPERM || error == EOPNOTSUPP || error == EAFNOSUPPORT ||
		     error == EPROTONOSUPPORT;

	return app_complain(absent ? APP_UNSUPPORTED : APP_FAILED, "%s: %s", call, strerror(error));
}

int app_short(const char *call, long moved)
{
	return moved < 0 ? app_fail(call, errno) : app_complain(APP_FAILED, "%s: ended after %ld bytes", call, moved);
}

int app_wrong(const char *what)
{
	return app_complain(APP_FAILED, "%s", what);
}

int app_wrong_about(const char *what, const char *detail)
{
	return app_complain(APP_FAILED, "%s: %s", what, detail);
}

void app_settle(void)
{
	struct timespec wait = { 0, 10 * 1000 * 1000 };

	nanosleep(&wait, NULL);
}

/*
 * Kept apart and small: begin marker, RDTSC, work, RDTSC, end marker, and no other call of ours in between.  On one page,
 * or a guest that loads code when it is first executed would do that between a marker and its RDTSC.
 */
static __attribute__((noinline, aligned(4096))) int app_window(const struct app_phase *phase, uint64_t *tsc)
{
	int (*run)(long) = phase->run;
	long ops = phase->ops;
	uint64_t begin, end;
	int failed;

	APP_WINDOW_HOOK(phase->number, 1);
	begin = weaklink_phase_begin((unsigned)phase->number);
	failed = run(ops);
	end = weaklink_phase_end();
	APP_WINDOW_HOOK(phase->number, 0);
	*tsc = end - begin;
	return failed;
}

static void app_run_phase(const struct app_phase *phase, struct app_result *result)
{
	int failed;

	app_current = result;
	atomic_flag_clear(&app_blamed);

	failed = phase->setup(phase->warm);
	if (!failed) {
		app_settle();
		failed = phase->run(phase->warm);
	}
	failed |= phase->finish(phase->warm);
	if (failed) /* no window at all: what the guest cannot do costs nothing, which is not zero */
		return;

	failed = phase->setup(phase->ops);
	if (!failed) {
		app_settle();
		failed = app_window(phase, &result->tsc);
	}
	failed |= phase->finish(phase->ops);
	if (!failed) {
		result->status = APP_OK;
		result->ops = phase->ops;
	}
}

static void app_report(void)
{
	static const char *const words[] = { "not-run", "ok", "unsupported", "failed" };

	for (size_t i = 0; i < app_phase_count; i++) {
		const struct app_phase *phase = app_phases[i];
		const struct app_result *result = &app_results[i];

		if (result->status == APP_NOT_RUN)
			continue;
		printf("weaklink: phase %d %s %s %ld %llu%s%s\n", phase->number, phase->name, words[result->status],
		       result->ops, (unsigned long long)result->tsc, result->reason[0] ? " " : "", result->reason);
	}
}

static void app_list(void)
{
	for (size_t i = 0; i < app_phase_count; i++)
		printf("%d\t%s\t%ld\t%s\t%s\n", app_phases[i]->number, app_phases[i]->name, app_phases[i]->ops,
		       app_phases[i]->op, app_phases[i]->question);
}

/* As PID 1 there is nobody to return to: the host ends the machine. */
static int app_leave(int code)
{
	fflush(stdout);
	if (getpid() == 1)
		for (;;)
			pause();
	return code;
}

static int app_give_up(const char *text, const char *detail)
{
	printf("weaklink: error %s%s\n", text, detail);
	return app_leave(2);
}

static long app_find(const char *name, size_t length)
{
	for (size_t i = 0; i < app_phase_count; i++)
		if (strlen(app_phases[i]->name) == length && !strncmp(app_phases[i]->name, name, length))
			return (long)i;
	return -1;
}

/* Marks the phases of a comma-separated list; returns the first name that is none, or NULL. */
static const char *app_select(const char *list, char *chosen)
{
	memset(chosen, 0, APP_PHASES_MAX);
	for (const char *name = list;;) {
		size_t length = strcspn(name, ",");
		long found = app_find(name, length);

		if (found < 0)
			return name;
		chosen[found] = 1;
		if (!name[length])
			return NULL;
		name += length + 1;
	}
}

static void *app_nothing(void *argument)
{
	return argument;
}

/* libc takes short cuts until the first thread is made; every phase must find it in the same state. */
static void app_become_threaded(void)
{
	pthread_t thread;

	if (!pthread_create(&thread, NULL, app_nothing, NULL))
		pthread_join(thread, NULL);
}

/*
 * Sleep until the guest has run for so many seconds.  Where a boot waited for a disk, the app begins at another moment
 * each time, and the scheduler remembers who has run how much; after seconds of idleness it does not.  Idle time passes
 * at once, as no instructions stand for it.
 */
static void app_sleep_until(long seconds)
{
	struct timespec now, rest;

	if (!seconds || clock_gettime(CLOCK_MONOTONIC, &now) || now.tv_sec >= seconds)
		return;
	rest.tv_sec = seconds - 1 - now.tv_sec;
	rest.tv_nsec = 999999999 - now.tv_nsec;
	while (nanosleep(&rest, &rest) && errno == EINTR)
		;
}

/* The number that an argument is, or -1. */
static long app_number(const char *text)
{
	char *end = NULL;
	long number;

	errno = 0;
	number = strtol(text, &end, 10);
	return errno || end == text || *end ? -1 : number;
}

int main(int argc, char **argv)
{
	static char chosen[APP_PHASES_MAX];
	long spin = 0, settle = 0;

	memset(chosen, 1, sizeof chosen);
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--list")) {
			app_list();
			return app_leave(0);
		}
		if (!strcmp(argv[i], "--spin") && i + 1 < argc) {
			spin = app_number(argv[++i]);
			if (spin < 0)
				return app_give_up("--spin wants a count, not ", argv[i]);
		} else if (!strcmp(argv[i], "--settle") && i + 1 < argc) {
			settle = app_number(argv[++i]);
			if (settle < 0)
				return app_give_up("--settle wants seconds, not ", argv[i]);
		} else if (!strcmp(argv[i], "--phases") && i + 1 < argc) {
			const char *unknown = app_select(argv[++i], chosen);

			if (unknown)
				return app_give_up("unknown phase in --phases, at: ", unknown);
		} else {
			return app_give_up("unknown argument ", argv[i]);
		}
	}

	signal(SIGPIPE, SIG_IGN); /* a peer that has gone is an error to report, not a death */
	app_system_start();
	snprintf(app_folder, sizeof app_folder, "/tmp/%s-%ld", app_name, (long)getpid());
	if (mkdir(app_folder, 0700))
		return app_give_up("cannot make a folder below /tmp: ", strerror(errno));
	app_become_threaded();
	app_guest_report();
	app_sleep_until(settle);
	for (volatile long i = 0; i < spin; i++)
		;
	printf("weaklink: ready\n");
	fflush(stdout);
	tcdrain(STDOUT_FILENO); /* or the line would still be leaving through the serial port in the first phase */

	weaklink_arm();
	for (size_t i = 0; i < app_phase_count; i++)
		if (chosen[i])
			app_run_phase(app_phases[i], &app_results[i]);
	weaklink_disarm();

	rmdir(app_folder);
	app_report();
	printf("weaklink: done\n");
	return app_leave(0);
}
