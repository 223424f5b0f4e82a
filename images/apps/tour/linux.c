/* SPDX-License-Identifier: MIT */
/* All that only Linux has: being PID 1 of an initramfs, huge pages, epoll. */
#define _GNU_SOURCE
#include "tour.h"

#include <errno.h>
#include <stdint.h>

#ifdef __linux__

#include <net/if.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Whatever fails here shows in what needs it: a guest line says unknown, a phase says why it cannot run. */
void tour_linux_init(void)
{
	/* The kernel checks the TSC for a second before it makes it the clock: not during the phases, please. */
	struct timespec boot = { 1, 500 * 1000 * 1000 };
	struct ifreq request;
	int channel;

	if (getpid() != 1)
		return;
	mkdir("/proc", 0555);
	mkdir("/sys", 0555);
	mkdir("/tmp", 0777);
	mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777");
	channel = socket(AF_INET, SOCK_DGRAM, 0);
	if (channel >= 0) {
		memset(&request, 0, sizeof request);
		strcpy(request.ifr_name, "lo");
		if (!ioctl(channel, SIOCGIFFLAGS, &request)) {
			request.ifr_flags |= IFF_UP;
			ioctl(channel, SIOCSIFFLAGS, &request);
		}
		close(channel);
	}
	nanosleep(&boot, NULL);
}

void tour_linux_small_pages(void *address, size_t length)
{
	madvise(address, length, MADV_NOHUGEPAGE); /* fails where there are no huge pages: just as well */
}

/* ---- epoll-100 */

static int tour_epoll = -1;

static int tour_epoll_100_setup(long ops)
{
	(void)ops;
	if (tour_pipes_open())
		return -1;
	tour_epoll = epoll_create1(0);
	if (tour_epoll < 0)
		return tour_fail("epoll_create1", errno);
	for (int i = 0; i < TOUR_HUNDRED; i++) {
		struct epoll_event event = { .events = EPOLLIN, .data = { .u32 = (uint32_t)i } };

		if (epoll_ctl(tour_epoll, EPOLL_CTL_ADD, tour_pipes[i][0], &event))
			return tour_fail("epoll_ctl", errno);
	}
	return 0;
}

static int tour_epoll_100_run(long ops)
{
	for (long i = 0; i < ops; i++) {
		unsigned which = (unsigned)(i * 37 % TOUR_HUNDRED);
		struct epoll_event events[8];
		char byte = (char)i, got;

		if (write(tour_pipes[which][1], &byte, 1) != 1)
			return tour_fail("write to a pipe", errno);
		if (epoll_wait(tour_epoll, events, 8, -1) != 1 || events[0].data.u32 != which)
			return tour_wrong("epoll_wait did not name the one pipe that has something");
		if (read(tour_pipes[which][0], &got, 1) != 1 || got != byte)
			return tour_wrong("the byte in the pipe is another one");
	}
	return 0;
}

static int tour_epoll_100_finish(long ops)
{
	(void)ops;
	tour_close(&tour_epoll);
	tour_pipes_close();
	return 0;
}

#else /* not Linux */

static int tour_epoll_100_setup(long ops)
{
	(void)ops;
	return tour_fail("epoll_create1", ENOSYS);
}

static int tour_epoll_100_run(long ops)
{
	(void)ops;
	return -1;
}

static int tour_epoll_100_finish(long ops)
{
	(void)ops;
	return 0;
}

void tour_linux_init(void)
{
}

void tour_linux_small_pages(void *address, size_t length)
{
	(void)address;
	(void)length;
}

#endif

const struct tour_phase tour_epoll_100 = {
	19, "epoll-100", "event", "What does it cost to learn through epoll which one of 100 descriptors is ready?",
	1009, 101, tour_epoll_100_setup, tour_epoll_100_run, tour_epoll_100_finish,
};
