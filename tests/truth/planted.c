/* SPDX-License-Identifier: MIT */
/*
 * Linked into every app of `just truth` on Linux, and run before its main: switches that no boot parameter has.
 *
 * What to do is in the environment, where Linux puts words of its command line that it does not know, as in
 * linux+planted_rule=1; they are taken out of it, so that the app finds nothing unknown.  Without such a word nothing is
 * done at all.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PLANTED_NEVER_CALLED __NR_swapon /* by no app */

/* What is not planted must not be measured: the host takes the line for the app's failure, and ends the machine. */
static void planted_failed(const char *what)
{
	printf("weaklink: error cannot plant %s: %s\n", what, strerror(errno));
	fflush(stdout);
	for (;;)
		pause();
}

/* As auditctl -a always,exit -S swapon: a rule for a system call that nobody makes. */
static void planted_rule(const char *value)
{
	struct {
		struct nlmsghdr head;
		struct audit_rule_data rule;
	} request = {
		.head = {
			.nlmsg_len = sizeof request,
			.nlmsg_type = AUDIT_ADD_RULE,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK,
		},
		.rule = { .flags = AUDIT_FILTER_EXIT, .action = AUDIT_ALWAYS },
	};
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	struct {
		struct nlmsghdr head;
		struct nlmsgerr error;
	} answer = { .error = { .error = -EPROTO } };
	int channel = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_AUDIT);

	request.rule.mask[AUDIT_WORD(PLANTED_NEVER_CALLED)] = AUDIT_BIT(PLANTED_NEVER_CALLED);
	if (channel < 0 ||
	    sendto(channel, &request, sizeof request, 0, (struct sockaddr *)&kernel, sizeof kernel) < 0 ||
	    recv(channel, &answer, sizeof answer, 0) < 0)
		planted_failed(value);
	errno = -answer.error.error;
	if (answer.head.nlmsg_type != NLMSG_ERROR || errno)
		planted_failed(value);
	close(channel);
}

/* Refuses a system call that nobody makes, and lets all others through. */
static void planted_filter(const char *value)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PLANTED_NEVER_CALLED, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof code / sizeof code[0], code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		planted_failed(value);
}

/* Writes to a file of a file system that is there only meanwhile. */
static void planted_write(const char *type, const char *path, const char *value)
{
	int file = -1;

	mkdir("/planted", 0700);
	if (!mount(type, "/planted", type, 0, NULL))
		file = open(path, O_WRONLY | O_CLOEXEC);
	if (file < 0 || write(file, value, strlen(value)) != (ssize_t)strlen(value))
		planted_failed(value);
	close(file);
	if (umount("/planted") || rmdir("/planted"))
		planted_failed(value);
}

static void planted_feature(const char *value)
{
	planted_write("debugfs", "/planted/sched/features", value);
}

/* Not a boot parameter: the kernel gives up huge pages by itself on a machine of less than 512 MiB. */
static void planted_huge_pages(const char *value)
{
	planted_write("sysfs", "/planted/kernel/mm/transparent_hugepage/enabled", value);
}

static const struct {
	const char *word;
	void (*plant)(const char *value);
} planted_switches[] = {
	{ "planted_rule", planted_rule },
	{ "planted_feature", planted_feature },
	{ "planted_huge_pages", planted_huge_pages },
	{ "planted_filter", planted_filter },
};

__attribute__((constructor)) static void planted(void)
{
	for (size_t i = 0; i < sizeof planted_switches / sizeof planted_switches[0]; i++) {
		const char *value = getenv(planted_switches[i].word);

		if (!value)
			continue;
		planted_switches[i].plant(value);
		unsetenv(planted_switches[i].word);
	}
}
