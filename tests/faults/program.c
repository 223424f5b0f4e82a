/* SPDX-License-Identifier: MIT */
/* A program that ends badly, in the way that its argument names, on the day of seed 2 only (see faulty). */
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { DAY = 24 * 60 * 60, STRUCK = 1767225600 + 2 * DAY, PORT = 7000 };

static int taken(void)
{
	struct sockaddr_in place = { .sin_family = AF_INET, .sin_port = htons(PORT) };

	for (int i = 0; i < 2; i++) {
		int channel = socket(AF_INET, SOCK_STREAM, 0);

		if (bind(channel, (struct sockaddr *)&place, sizeof place) || listen(channel, 1)) {
			perror("program: bind");
			return 98;
		}
	}
	return 0;
}

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "";
	time_t now = time(NULL);

	if (now < STRUCK || now >= STRUCK + DAY)
		return 0;
	printf("program: today\n");
	fflush(stdout);
	if (!strcmp(how, "status"))
		return 3;
	if (!strcmp(how, "port"))
		return taken();
	if (!strcmp(how, "crash"))
		raise(SIGSEGV);
	return 0;
}
