/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
/* All that only Linux has: being PID 1 of an initramfs, huge pages, epoll. */
#define _GNU_SOURCE
#include "tour.h"

#ifdef __linux__

#include <net/if.h>
#include <string.h>
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

#else

void tour_linux_init(void)
{
}

void tour_linux_small_pages(void *address, size_t length)
{
	(void)address;
	(void)length;
}

#endif
