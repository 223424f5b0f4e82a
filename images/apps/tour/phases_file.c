/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* Files in the memory file system. */
#define _GNU_SOURCE
#include "tour.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static char tour_path[96];
static char tour_block[16384];

static int tour_path_setup(long ops)
{
	(void)ops;
	snprintf(tour_path, sizeof tour_path, "%s/file", tour_folder);
	return 0;
}

/* ---- file-create: a short life */

static int tour_file_create_run(long ops)
{
	for (long i = 0; i < ops; i++) {
		int file = open(tour_path, O_RDWR | O_CREAT | O_EXCL, 0600);

		if (file < 0)
			return tour_fail("open", errno);
		if (write(file, tour_block, 512) != 512)
			return tour_fail("write", errno);
		if (close(file))
			return tour_fail("close", errno);
		if (unlink(tour_path))
			return tour_fail("unlink", errno);
	}
	return 0;
}

static int tour_file_create_finish(long ops)
{
	struct stat status;

	(void)ops;
	return stat(tour_path, &status) ? 0 : tour_wrong("an unlinked file is still there");
}

const struct tour_phase tour_file_create = {
	12, "file-create", "file", "What does a small file cost from its creation to its end?",
	251, 11, tour_path_setup, tour_file_create_run, tour_file_create_finish,
};
