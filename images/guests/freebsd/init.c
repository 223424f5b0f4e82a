/* SPDX-License-Identifier: MIT */
/*
 * PID 1 of a FreeBSD guest: makes a console, memory at /tmp and a loopback address, reads every file of the disk once, so
 * that the kernel has them in its cache and reads nothing in a window, then starts the app and waits.  What to start is
 * in /weaklink.argv, each word ended by a NUL: the program, then its arguments.
 */
#include <sys/param.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/sysctl.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include <net/if.h>
#include <netinet/in.h>
#include <netinet/in_var.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ARGUMENTS "/weaklink.argv"
#define OPTIONS "/weaklink.options"
#define WORDS 256
#define BYTES 65536

/* As for any program that a kernel starts without descriptors. */
static void open_console(void)
{
	int console = open("/dev/console", O_RDWR);

	for (int i = 0; i < 3; i++)
		if (i != console)
			dup2(console, i);
	if (console > 2)
		close(console);
}

/* QEMU was told to end instead. */
__attribute__((noreturn)) static void end(void)
{
	fflush(stdout);
	reboot(RB_AUTOBOOT | RB_NOSYNC);
	_exit(1);
}

__attribute__((noreturn)) static void give_up(const char *what, const char *name)
{
	printf("weaklink: error init: %s %s: %s\n", what, name, strerror(errno));
	end();
}

static void mount_memory(void)
{
	static char words[][8] = { "fstype", "tmpfs", "fspath", "/tmp", "mode", "1777" };
	struct iovec parts[sizeof words / sizeof words[0]];

	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
		parts[i].iov_base = words[i];
		parts[i].iov_len = strlen(words[i]) + 1;
	}
	if (nmount(parts, sizeof words / sizeof words[0], MNT_NOSUID))
		give_up("mount", "/tmp");
}

static void set_loopback(void)
{
	struct in_aliasreq request = { .ifra_name = "lo0" };
	int channel = socket(AF_INET, SOCK_DGRAM, 0);

	request.ifra_addr.sin_family = request.ifra_mask.sin_family = AF_INET;
	request.ifra_addr.sin_len = request.ifra_mask.sin_len = sizeof request.ifra_addr;
	request.ifra_addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	request.ifra_mask.sin_addr.s_addr = htonl(IN_CLASSA_NET);
	if (channel < 0 || ioctl(channel, SIOCAIFADDR, &request))
		printf("init: no loopback: %s\n", strerror(errno)); /* a phase that needs it will say so */
	if (channel >= 0)
		close(channel);
}

static void read_file(const char *path)
{
	static char block[BYTES];
	int file = open(path, O_RDONLY);

	if (file < 0)
		give_up("open", path);
	while (read(file, block, sizeof block) > 0)
		;
	close(file);
}

/* All but the mounted file systems. */
static void read_all(const char *folder)
{
	DIR *all = opendir(folder);
	struct dirent *entry;

	if (!all)
		give_up("open", folder);
	while ((entry = readdir(all))) {
		char path[PATH_MAX];

		snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..") || !strcmp(path, "//dev") ||
		    !strcmp(path, "//tmp"))
			continue;
		if (entry->d_type == DT_DIR)
			read_all(path);
		else
			read_file(path);
	}
	closedir(all);
}

/* The words of a file, followed by NULL. */
static void read_words(const char *path, char *text, size_t size, char **words)
{
	int file = open(path, O_RDONLY);
	ssize_t length = file < 0 ? -1 : read(file, text, size - 1);
	int count = 0;

	if (length < 0)
		give_up("read", path);
	close(file);
	for (char *word = text; word < text + length && count < WORDS - 1; word += strlen(word) + 1)
		words[count++] = word;
	words[count] = NULL;
}

/*
 * Of the options NAME=VALUE those that are no setting of this kernel: it takes any name, and what it has no setting for
 * would change nothing, and nobody would know.
 */
static void report_unknown(char **options)
{
	const char *between = "weaklink: guest unknown_options ";

	for (; *options; options++) {
		char name[256];
		int place[CTL_MAXNAME];
		size_t length = CTL_MAXNAME;

		snprintf(name, sizeof name, "%.*s", (int)strcspn(*options, "="), *options);
		if (!strncmp(name, "hint.", 5) || !sysctlnametomib(name, place, &length))
			continue;
		printf("%s%s", between, *options);
		between = " ";
	}
	if (*between == ' ')
		printf("\n");
}

/* In the child. */
static void become_app(char **command)
{
	char *environment[] = { "HOME=/tmp", "PATH=/bin:/usr/bin", NULL };

	execve(command[0], command, environment);
	give_up("execute", command[0] ? command[0] : "nothing");
}

int main(void)
{
	/* Kernel threads settle meanwhile; idle time costs nothing. */
	struct timespec boot = { 1, 500 * 1000 * 1000 };
	static char arguments[BYTES], options[BYTES];
	static char *command[WORDS], *given[WORDS];
	int status = 0;
	pid_t app, other;
	char random;

	open_console();
	mount_memory();
	set_loopback();
	read_words(ARGUMENTS, arguments, sizeof arguments, command);
	read_words(OPTIONS, options, sizeof options, given);
	report_unknown(given);
	read_all("/");
	getrandom(&random, 1, 0); /* waits until the kernel has collected enough, which it says on the console */
	fflush(stdout);
	nanosleep(&boot, NULL);
	app = fork();
	if (!app)
		become_app(command);
	if (app < 0)
		give_up("fork", "");
	do
		other = waitpid(-1, &status, 0); /* what lost its parent is ours too */
	while (other != app && (other > 0 || errno == EINTR));
	if (WIFSIGNALED(status))
		printf("weaklink: signal %d\n", WTERMSIG(status));
	else if (WEXITSTATUS(status))
		printf("weaklink: exit %d\n", WEXITSTATUS(status));
	else
		printf("init: the app ended with status %d\n", WEXITSTATUS(status));
	end();
}
