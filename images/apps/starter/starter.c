/*
 * Two questions to a kernel.  app.h has main, arguments and report, and opens a window around each `run` below with
 * weaklink's marker.h.  An app brings phases.
 */
#include "app.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

const char app_name[] = "starter";

/* ---- pipe: what is needed is made in setup, so that the window has nothing but the ops */

static int starter_ends[2] = { -1, -1 };

static int starter_pipe_setup(long ops)
{
	(void)ops;
	return pipe(starter_ends) ? app_fail("pipe", errno) : 0;
}

static int starter_pipe_run(long ops)
{
	for (long i = 0; i < ops; i++) {
		char byte = (char)i, back = 0;

		if (write(starter_ends[1], &byte, 1) != 1)
			return app_fail("write", errno);
		if (read(starter_ends[0], &back, 1) != 1)
			return app_fail("read", errno);
		if (back != byte)
			return app_wrong("another byte came out of the pipe");
	}
	return 0;
}

/* Also after a setup that failed half way. */
static int starter_pipe_finish(long ops)
{
	(void)ops;
	for (int i = 0; i < 2; i++) {
		if (starter_ends[i] >= 0)
			close(starter_ends[i]);
		starter_ends[i] = -1;
	}
	return 0;
}

/* Each is called twice: with the small number of ops unmarked, to warm up, then with the large one, in the window. */
static const struct app_phase starter_pipe = {
	.number = 1, .name = "pipe", .op = "write and read",
	.question = "What does it cost to put a byte into a pipe and to take it out again?",
	.ops = 1009, .warm = 101,
	.setup = starter_pipe_setup, .run = starter_pipe_run, .finish = starter_pipe_finish,
};

/* ---- file: in a folder of the app's own, which is in memory on every guest */

static char starter_name[sizeof app_folder + 8];

static int starter_file_setup(long ops)
{
	(void)ops;
	snprintf(starter_name, sizeof starter_name, "%s/file", app_folder);
	return 0;
}

static int starter_file_run(long ops)
{
	for (long i = 0; i < ops; i++) {
		int file = open(starter_name, O_WRONLY | O_CREAT | O_EXCL, 0600);

		if (file < 0)
			return app_fail("open", errno);
		if (write(file, "content", 7) != 7) {
			app_fail("write", errno);
			close(file);
			return -1;
		}
		if (close(file))
			return app_fail("close", errno);
		if (unlink(starter_name))
			return app_fail("unlink", errno);
	}
	return 0;
}

static int starter_file_finish(long ops)
{
	(void)ops;
	unlink(starter_name); /* one that a failed run has left; else there is none */
	return 0;
}

static const struct app_phase starter_file = {
	.number = 2, .name = "file", .op = "file",
	.question = "What does a small file cost from its creation to its end?",
	.ops = 127, .warm = 17,
	.setup = starter_file_setup, .run = starter_file_run, .finish = starter_file_finish,
};

const struct app_phase *const app_phases[] = {
	&starter_pipe,
	&starter_file,
};
const size_t app_phase_count = sizeof app_phases / sizeof app_phases[0];
