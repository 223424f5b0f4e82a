/* SPDX-License-Identifier: MIT */
/* Files in the memory file system. */
#define _GNU_SOURCE
#include "tour.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define TOUR_PATH 96
#define TOUR_SMALL 512       /* bytes in a small file */
#define TOUR_BLOCK 16384     /* bytes of a sequential read or write */

static char tour_path[TOUR_PATH];
static unsigned char tour_block[TOUR_BLOCK];

/* ---- file-create: a short life */

static int tour_file_create_setup(long ops)
{
	(void)ops;
	snprintf(tour_path, sizeof tour_path, "%s/file", app_folder);
	return 0;
}

static int tour_file_create_run(long ops)
{
	for (long i = 0; i < ops; i++) {
		int file = open(tour_path, O_RDWR | O_CREAT | O_EXCL, 0600);
		ssize_t moved;

		if (file < 0)
			return app_fail("open", errno);
		moved = write(file, tour_block, TOUR_SMALL);
		if (moved != TOUR_SMALL)
			return app_short("write", moved);
		if (close(file))
			return app_fail("close", errno);
		if (unlink(tour_path))
			return app_fail("unlink", errno);
	}
	return 0;
}

static int tour_file_create_finish(long ops)
{
	struct stat status;

	(void)ops;
	return stat(tour_path, &status) ? 0 : app_wrong("an unlinked file is still there");
}

const struct app_phase tour_file_create = {
	12, "file-create", "file", "What does a small file cost from its creation to its end?",
	127, 11, tour_file_create_setup, tour_file_create_run, tour_file_create_finish,
};

/* ---- file-tree: made, walked and read, and removed again; all names are ready before the window */

#define TOUR_FILES 128
#define TOUR_PER_FOLDER 16

static char tour_folders[TOUR_FILES / TOUR_PER_FOLDER][TOUR_PATH];
static char tour_files[TOUR_FILES][TOUR_PATH];

static long tour_folder_count(long ops)
{
	return (ops + TOUR_PER_FOLDER - 1) / TOUR_PER_FOLDER;
}

static int tour_file_tree_setup(long ops)
{
	if (ops > TOUR_FILES)
		return app_wrong("too many files for the tables");
	for (long i = 0; i < tour_folder_count(ops); i++)
		snprintf(tour_folders[i], TOUR_PATH, "%s/folder-%02ld", app_folder, i);
	for (long i = 0; i < ops; i++)
		snprintf(tour_files[i], TOUR_PATH, "%s/folder-%02ld/file-%03ld", app_folder, i / TOUR_PER_FOLDER, i);
	return 0;
}

static int tour_tree_make(long ops)
{
	for (long i = 0; i < ops; i++) {
		ssize_t moved;
		int file;

		if (i % TOUR_PER_FOLDER == 0 && mkdir(tour_folders[i / TOUR_PER_FOLDER], 0700))
			return app_fail("mkdir", errno);
		file = open(tour_files[i], O_WRONLY | O_CREAT | O_EXCL, 0600);
		if (file < 0)
			return app_fail("open to create", errno);
		tour_block[0] = (unsigned char)i;
		moved = write(file, tour_block, TOUR_SMALL);
		if (moved != TOUR_SMALL)
			return app_short("write", moved);
		if (close(file))
			return app_fail("close", errno);
	}
	return 0;
}

/* folder + "/" + name; false if it does not fit.  No libc function, which would count as an operation. */
static int tour_join(char *path, const char *folder, const char *name)
{
	long at = 0;

	while (*folder && at < TOUR_PATH - 2)
		path[at++] = *folder++;
	path[at++] = '/';
	while (*name && at < TOUR_PATH - 1)
		path[at++] = *name++;
	path[at] = 0;
	return !*folder && !*name;
}

/* Returns the number of the file that the path names, by what is in it, or -1. */
static int tour_tree_read(const char *path)
{
	struct stat status;
	unsigned char text[TOUR_SMALL];
	ssize_t moved;
	int file;

	if (stat(path, &status))
		return app_fail("stat", errno);
	if (!S_ISREG(status.st_mode) || status.st_size != TOUR_SMALL)
		return app_wrong("stat says something else than what was made");
	file = open(path, O_RDONLY);
	if (file < 0)
		return app_fail("open to read", errno);
	moved = read(file, text, sizeof text);
	if (moved != TOUR_SMALL)
		return app_short("read", moved);
	if (close(file))
		return app_fail("close", errno);
	return text[0];
}

static int tour_tree_walk(long ops)
{
	long files = 0, sum = 0;

	for (long i = 0; i < tour_folder_count(ops); i++) {
		DIR *folder = opendir(tour_folders[i]);
		struct dirent *entry;

		if (!folder)
			return app_fail("opendir", errno);
		while ((entry = readdir(folder))) {
			char path[TOUR_PATH];
			int number;

			if (entry->d_name[0] == '.')
				continue;
			if (!tour_join(path, tour_folders[i], entry->d_name))
				return app_wrong("a name is too long");
			number = tour_tree_read(path);
			if (number < 0)
				return -1;
			files++;
			sum += number;
		}
		if (closedir(folder))
			return app_fail("closedir", errno);
	}
	return files == ops && sum == ops * (ops - 1) / 2 ? 0 : app_wrong("the walk found other files");
}

static int tour_tree_remove(long ops)
{
	for (long i = 0; i < ops; i++)
		if (unlink(tour_files[i]))
			return app_fail("unlink", errno);
	for (long i = 0; i < tour_folder_count(ops); i++)
		if (rmdir(tour_folders[i]))
			return app_fail("rmdir", errno);
	return 0;
}

static int tour_file_tree_run(long ops)
{
	return tour_tree_make(ops) || tour_tree_walk(ops) || tour_tree_remove(ops) ? -1 : 0;
}

static int tour_file_tree_finish(long ops)
{
	struct stat status;

	(void)ops;
	return stat(tour_folders[0], &status) ? 0 : app_wrong("a removed folder is still there");
}

const struct app_phase tour_file_tree = {
	13, "file-tree", "file", "What does a tree of small files cost: made, walked, read and removed?",
	101, 17, tour_file_tree_setup, tour_file_tree_run, tour_file_tree_finish,
};

/* ---- file-write and file-read: block by block; byte 0 of every block is its number */

static int tour_stream = -1;

static int tour_file_write_setup(long ops)
{
	(void)ops;
	snprintf(tour_path, sizeof tour_path, "%s/stream", app_folder);
	for (long i = 0; i < TOUR_BLOCK; i++)
		tour_block[i] = (unsigned char)(i * 7);
	tour_stream = open(tour_path, O_RDWR | O_CREAT | O_EXCL, 0600);
	return tour_stream < 0 ? app_fail("open", errno) : 0;
}

static int tour_file_write_run(long ops)
{
	for (long i = 0; i < ops; i++) {
		ssize_t moved;

		tour_block[0] = (unsigned char)i;
		moved = write(tour_stream, tour_block, TOUR_BLOCK);
		if (moved != TOUR_BLOCK)
			return app_short("write", moved);
	}
	return 0;
}

static int tour_file_read_run(long ops)
{
	for (long i = 0; i < ops; i++) {
		ssize_t moved = read(tour_stream, tour_block, TOUR_BLOCK);

		if (moved != TOUR_BLOCK)
			return app_short("read", moved);
		if (tour_block[0] != (unsigned char)i || tour_block[TOUR_BLOCK - 1] != (unsigned char)((TOUR_BLOCK - 1) * 7))
			return app_wrong("a block reads back changed");
	}
	return 0;
}

static int tour_file_read_setup(long ops)
{
	if (tour_file_write_setup(ops) || tour_file_write_run(ops))
		return -1;
	return lseek(tour_stream, 0, SEEK_SET) ? app_fail("lseek", errno) : 0;
}

static int tour_file_read_finish(long ops)
{
	(void)ops;
	if (tour_stream >= 0)
		unlink(tour_path);
	tour_close(&tour_stream);
	return 0;
}

/* What was written is read back, which is the check of the writing. */
static int tour_file_write_finish(long ops)
{
	int failed = 0;
	struct stat status;

	if (tour_stream >= 0 && !fstat(tour_stream, &status)) {
		if (status.st_size != ops * TOUR_BLOCK)
			failed = app_wrong("the file has another size");
		else if (lseek(tour_stream, 0, SEEK_SET) || tour_file_read_run(ops))
			failed = app_wrong("the file does not read back");
	}
	tour_file_read_finish(ops);
	return failed;
}

const struct app_phase tour_file_write = {
	14, "file-write", "write of 16 KiB", "What does it cost to write a new file from its beginning to its end?",
	211, 11, tour_file_write_setup, tour_file_write_run, tour_file_write_finish,
};

const struct app_phase tour_file_read = {
	15, "file-read", "read of 16 KiB", "What does it cost to read a cached file from its beginning to its end?",
	401, 11, tour_file_read_setup, tour_file_read_run, tour_file_read_finish,
};
