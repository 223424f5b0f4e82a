/* A program that is out to do harm with all that it can say: names of threads, and what it writes on the console. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static const char *const names[] = {
    "\033[31mred\033]0;x", "<script>alert(", "=1+1|a|b`c`", "\342\200\256gnp.exe", "a\nweaklink: do", "\233\205\377\376", "[bold]x[/]",
};

static void *named(void *name) {
    prctl(PR_SET_NAME, name, 0, 0, 0);
    for (int i = 0; i < 50; i++) {
        usleep(10);
        getppid();
    }
    return 0;
}

int main(void) {
    pthread_t threads[sizeof names / sizeof *names];
    prctl(PR_SET_NAME, "\033[2J\r=cmd", 0, 0, 0);
    printf("\033]0;owned\a\033[2J\302\233 31m \342\200\256 <script>alert(1)</script> =1+1 | a | `b` [x](javascript:1)\n");
    printf("weaklink: phase 0 null-call ok 1 1 \033[31m\nweaklink: guest cpu \033[31m\nweaklink: nonsense \033[31m\n");
    fflush(stdout);
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
        pthread_create(&threads[i], 0, named, (void *)names[i]);
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
        pthread_join(threads[i], 0);
    return 0;
}
