/* SPDX-License-Identifier: MIT */
/* A known number of threads waits for locks of the app's and of the kernel's; a known number of packets is sent. */
#define _GNU_SOURCE
#include "app.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#ifdef __linux__
#include <linux/futex.h>
#include <linux/userfaultfd.h>
#endif

enum { CROWD = 16, BYTES = 100 };

static int nothing(long ops)
{
	(void)ops;
	return 0;
}

/* ---- a crowd of threads, which wait to be let go */

static pthread_t waiting_crowd[CROWD];
static long waiting_count;
static sem_t waiting_gate, waiting_over;
static void (*waiting_work)(void);

static void *waiting_one(void *none)
{
	while (sem_wait(&waiting_gate) && errno == EINTR)
		;
	waiting_work();
	sem_post(&waiting_over);
	return none;
}

static int crowd_start(long count, void (*work)(void))
{
	waiting_work = work;
	if (sem_init(&waiting_gate, 0, 0) || sem_init(&waiting_over, 0, 0))
		return app_fail("sem_init", errno);
	for (waiting_count = 0; waiting_count < count; waiting_count++) {
		int error = pthread_create(&waiting_crowd[waiting_count], NULL, waiting_one, NULL);
		if (error)
			return app_fail("pthread_create", error);
	}
	app_settle();
	return 0;
}

static void crowd_goes(void)
{
	for (long i = 0; i < waiting_count; i++)
		sem_post(&waiting_gate);
	app_settle();
}

static void crowd_is_done(void)
{
	for (long i = 0; i < waiting_count; i++)
		while (sem_wait(&waiting_over) && errno == EINTR)
			;
}

static int crowd_join(void)
{
	while (waiting_count)
		pthread_join(waiting_crowd[--waiting_count], NULL);
	return 0;
}

/* ---- held: main has the mutex until all others wait for it */

static pthread_mutex_t waiting_mutex = PTHREAD_MUTEX_INITIALIZER;

static void take_the_mutex(void)
{
	pthread_mutex_lock(&waiting_mutex);
	pthread_mutex_unlock(&waiting_mutex);
}

static int held_setup(long ops)
{
	return crowd_start(ops, take_the_mutex);
}

static int held_run(long ops)
{
	(void)ops;
	pthread_mutex_lock(&waiting_mutex);
	crowd_goes();
	pthread_mutex_unlock(&waiting_mutex);
	crowd_is_done();
	return 0;
}

static int held_finish(long ops)
{
	(void)ops;
	return crowd_join();
}

/* ---- changed: the futex is no longer what the caller saw */

static int changed_run(long ops)
{
#ifdef __linux__
	static int waiting_word = 1;

	for (long i = 0; i < ops; i++)
		if (syscall(SYS_futex, &waiting_word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0) != -1 || errno != EAGAIN)
			return app_wrong("futex");
	return 0;
#else
	(void)ops;
	return app_fail("futex", ENOSYS);
#endif
}

/* ---- inode: one thread writes to a file what is not there yet, and holds the file's lock; the others write too */

static int inode_file = -1;
#ifdef __linux__
static int inode_faults = -1;
static char *inode_absent;
static pthread_t inode_holder;

static void *write_what_is_absent(void *none)
{
	if (pwrite(inode_file, inode_absent, BYTES, 0) != BYTES)
		app_short("pwrite", 0);
	return none;
}
#endif

static void write_a_little(void)
{
	if (pwrite(inode_file, "x", 1, 0) != 1)
		app_short("pwrite", 0);
}

static int inode_setup(long ops)
{
#ifdef __linux__
	struct uffdio_api api = { .api = UFFD_API };

	inode_faults = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	if (inode_faults < 0)
		return app_fail("userfaultfd", errno);
	inode_absent = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct uffdio_register all = { { (unsigned long)inode_absent, 4096 }, UFFDIO_REGISTER_MODE_MISSING, 0 };

	if (ioctl(inode_faults, UFFDIO_API, &api) || ioctl(inode_faults, UFFDIO_REGISTER, &all))
		return app_fail("ioctl", errno);
	inode_file = (int)memfd_create("waiting", 0);
	if (inode_file < 0)
		return app_fail("memfd_create", errno);
	return crowd_start(ops, write_a_little);
#else
	(void)ops;
	(void)write_a_little;
	return app_fail("userfaultfd", ENOSYS);
#endif
}

static int inode_run(long ops)
{
	(void)ops;
#ifdef __linux__
	static char page[4096];
	struct uffdio_copy copy = { (unsigned long)inode_absent, (unsigned long)page, 4096, 0, 0 };
	int error = pthread_create(&inode_holder, NULL, write_what_is_absent, NULL);

	if (error)
		return app_fail("pthread_create", error);
	app_settle();
	crowd_goes();
	if (ioctl(inode_faults, UFFDIO_COPY, &copy))
		return app_fail("ioctl", errno);
	crowd_is_done();
	pthread_join(inode_holder, NULL);
#endif
	return 0;
}

static int inode_finish(long ops)
{
	(void)ops;
	crowd_join();
#ifdef __linux__
	if (inode_absent)
		munmap(inode_absent, 4096);
	if (inode_faults >= 0)
		close(inode_faults);
	inode_absent = NULL;
	inode_faults = -1;
#endif
	if (inode_file >= 0)
		close(inode_file);
	inode_file = -1;
	return 0;
}

/* ---- datagrams: each is received before the next one is sent */

static int waiting_socket = -1;
static struct sockaddr_in waiting_place;

static int open_socket(int type)
{
	socklen_t length = sizeof waiting_place;

	memset(&waiting_place, 0, sizeof waiting_place);
	waiting_place.sin_family = AF_INET;
	waiting_place.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	waiting_socket = socket(AF_INET, type, 0);
	if (waiting_socket < 0)
		return app_fail("socket", errno);
	if (bind(waiting_socket, (struct sockaddr *)&waiting_place, sizeof waiting_place))
		return app_fail("bind", errno);
	if (getsockname(waiting_socket, (struct sockaddr *)&waiting_place, &length))
		return app_fail("getsockname", errno);
	return 0;
}

static int close_socket(long ops)
{
	(void)ops;
	if (waiting_socket >= 0)
		close(waiting_socket);
	waiting_socket = -1;
	return 0;
}

static int datagrams_setup(long ops)
{
	(void)ops;
	return open_socket(SOCK_DGRAM);
}

static int datagrams_run(long ops)
{
	char data[BYTES] = "";

	for (long i = 0; i < ops; i++) {
		long moved = sendto(waiting_socket, data, BYTES, 0, (struct sockaddr *)&waiting_place, sizeof waiting_place);

		if (moved != BYTES)
			return app_short("sendto", moved);
		moved = recv(waiting_socket, data, BYTES, 0);
		if (moved != BYTES)
			return app_short("recv", moved);
	}
	return 0;
}

/* ---- connections */

static int connections_setup(long ops)
{
	if (open_socket(SOCK_STREAM))
		return -1;
	return listen(waiting_socket, (int)ops) ? app_fail("listen", errno) : 0;
}

static int connections_run(long ops)
{
	for (long i = 0; i < ops; i++) {
		int here = socket(AF_INET, SOCK_STREAM, 0), there;

		if (here < 0 || connect(here, (struct sockaddr *)&waiting_place, sizeof waiting_place))
			return app_fail("connect", errno);
		there = accept(waiting_socket, NULL, NULL);
		if (there < 0)
			return app_fail("accept", errno);
		close(here);
		close(there);
	}
	return 0;
}

static const struct app_phase held = {
	1, "held", "waiter", "Who waits for a mutex that is held?", 13, 3, held_setup, held_run, held_finish,
};
static const struct app_phase changed = {
	2, "changed", "futex", "Who finds that there is nothing to wait for?", 11, 3, nothing, changed_run, nothing,
};
static const struct app_phase inode = {
	3, "inode", "writer", "Who waits for a lock of the kernel's?", 5, 2, inode_setup, inode_run, inode_finish,
};
static const struct app_phase datagrams = {
	4, "datagrams", "datagram", "Which packets are there?", 17, 3, datagrams_setup, datagrams_run, close_socket,
};
static const struct app_phase connections = {
	5, "connections", "connection", "Which locks do connections wait for?", 19, 3, connections_setup, connections_run,
	close_socket,
};

const char app_name[] = "waiting";
const struct app_phase *const app_phases[] = { &held, &changed, &inode, &datagrams, &connections };
const size_t app_phase_count = sizeof app_phases / sizeof app_phases[0];
