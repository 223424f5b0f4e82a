/* SPDX-License-Identifier: MIT */
/*
 * Runs a client inside the process of the server that it talks to: this file is compiled with the client's source, whose
 * main has been given another name, into a shared object that is loaded before the program.
 *
 * The client begins with the process, so that it must wait for the server itself.  When its main returns, the process
 * ends with what it returned.
 */
#undef main
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* With any of main's usual types: on x86-64 arguments that are not wanted do no harm. */
int weaklink_client_main(int argc, char **argv);

static void *weaklink_client_run(void *none)
{
	static char name[] = "client", *words[] = { name, NULL };
	int status = weaklink_client_main(1, words);

	(void)none;
	fflush(NULL);
	_exit(status);
}

__attribute__((constructor)) static void weaklink_client_start(void)
{
	pthread_t thread;

	unsetenv("LD_PRELOAD"); /* programs that this one starts do not want a client */
	if (pthread_create(&thread, NULL, weaklink_client_run, NULL)) {
		fputs("weaklink: error the client's thread cannot be made\n", stdout);
		fflush(stdout);
		_exit(1);
	}
	pthread_detach(thread);
}

/* Where the kernel is the loader, this file is run as a program beside the other one: its constructor did it all. */
__attribute__((visibility("default"))) int main(void)
{
	for (;;)
		pause();
}
