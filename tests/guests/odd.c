/* An app that does what well-behaved ones rarely do; see test_linux.py.  Each phase is one thing. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "marker.h"

static char *page;
static volatile int signals;
static sigjmp_buf back;
static int faults_fd;
static pthread_t jumper;

/* System calls of the app's own: no operation of libc's is around them. */
static long call(long number, long a, long b, long c, const void *d, long e)
{
	register const void *r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	long result;

	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
			 : "rcx", "r11", "memory");
	return result;
}

static void on_jump(int n)
{
	(void)n;
	siglongjmp(back, 1);
}

static void on_count(int n)
{
	(void)n;
	signals++;
}

static void on_map(int n)
{
	(void)n;
	mprotect(page, 4096, PROT_READ | PROT_WRITE);
}

static void on_skip(int n, siginfo_t *info, void *context)
{
	(void)n, (void)info;
	((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] += 2;
}

static void privileged(void) /* HLT, IRET and SYSRET are the kernel's; user code gets a signal for them */
{
	signal(SIGSEGV, on_jump);
	signal(SIGILL, on_jump);
	for (int i = 0; i < 20; i++) {
		if (!sigsetjmp(back, 1))
			__asm__ volatile("hlt");
		if (!sigsetjmp(back, 1))
			__asm__ volatile("sysretq");
	}
}

static void no_such_call(void)
{
	for (int i = 0; i < 20; i++)
		call(999, 0, 0, 0, NULL, 0);
}

static void text_patched(void) /* switches a static key on and off: UDP_ENCAP_ESPINUDP; the kernel patches itself */
{
	int two = 2;

	for (int i = 0; i < 3; i++) {
		int fd = (int)call(SYS_socket, 2, 2, 0, NULL, 0);

		call(SYS_setsockopt, fd, 17, 100, &two, sizeof two);
		call(SYS_close, fd, 0, 0, NULL, 0);
	}
}

static void signalled(void)
{
	struct sigaction skip = {.sa_sigaction = on_skip, .sa_flags = SA_SIGINFO};
	struct itimerval often = {{0, 200}, {0, 200}}, never = {{0, 0}, {0, 0}};

	signal(SIGSEGV, on_map);
	signal(SIGTRAP, on_count);
	signal(SIGALRM, on_count);
	sigaction(SIGFPE, &skip, NULL);
	for (int i = 0; i < 20; i++) {
		int low = 1, high = 0;

		mprotect(page, 4096, PROT_NONE);
		*(volatile char *)page = 1;
		__asm__ volatile("divl %%ecx" : "+a"(low), "+d"(high) : "c"(0));
		__asm__ volatile("int3");
	}
	setitimer(ITIMER_REAL, &often, NULL);
	while (signals < 40)
		;
	setitimer(ITIMER_REAL, &never, NULL);
}

static void children(void)
{
	for (int i = 0; i < 2; i++) {
		pid_t child = vfork();

		if (!child) {
			execl("/init", "init", "child", NULL);
			_exit(1);
		}
		waitpid(child, NULL, 0);
		child = fork();
		if (!child)
			_exit(0);
		waitpid(child, NULL, 0);
	}
}

static void naps(void)
{
	for (int i = 0; i < 100; i++)
		nanosleep(&(struct timespec){0, 1000 + i * 97}, NULL);
}

/* A jump through memory that is not there until the next phase: the last instruction of its block faults. */
static void *jump(void *unused)
{
	__asm__ volatile("leaq 1f(%%rip), %%rax\n\tmovq %%rax, landing(%%rip)\n\tjmp *(%0)\n1:"
			 : : "r"(page + 4096) : "rax", "memory");
	return unused;
}

char landing[4096] __attribute__((aligned(4096)));

static void fault_begins(void)
{
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register where = {{(unsigned long)page + 4096, 4096}, UFFDIO_REGISTER_MODE_MISSING, 0};
	struct uffd_msg message;

	faults_fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	ioctl(faults_fd, UFFDIO_API, &api);
	ioctl(faults_fd, UFFDIO_REGISTER, &where);
	pthread_create(&jumper, NULL, jump, NULL);
	if (read(faults_fd, &message, sizeof message) != sizeof message)
		puts("weaklink: error no userfaultfd");
}

static void fault_ends(void)
{
	struct uffdio_copy copy = {(unsigned long)page + 4096, (unsigned long)landing, 4096, 0, 0};

	ioctl(faults_fd, UFFDIO_COPY, &copy);
	pthread_join(jumper, NULL);
}

static volatile bool crowd_stops;
static volatile unsigned long crowd_calls;

static void *one_of_a_crowd(void *number)
{
	while (!crowd_stops) {
		call((long)number, 0, 0, 0, NULL, 0);
		crowd_calls++;
	}
	return NULL;
}

static void crowd(void) /* its windows end while other threads are anywhere, preempted on their way into a call too */
{
	static int times;
	static pthread_t threads[2];
	unsigned long before = crowd_calls;

	if (!times++) {
		pthread_create(&threads[0], NULL, one_of_a_crowd, (void *)SYS_getpid);
		pthread_create(&threads[1], NULL, one_of_a_crowd, (void *)SYS_getppid);
	}
	while (crowd_calls == before)
		;
	if (times == 4) {
		crowd_stops = true;
		pthread_join(threads[0], NULL);
		pthread_join(threads[1], NULL);
	}
}

static void (*const phases[])(void) = {privileged,   no_such_call, text_patched, signalled, children, naps,
				       fault_begins, fault_ends,   crowd,	 crowd,	    crowd,    crowd};
#define PHASES (sizeof phases / sizeof phases[0])

int main(int argc, char **argv)
{
	static uint64_t ticks[PHASES];

	(void)argv;
	if (getpid() != 1 && argc > 1)
		return 0;
	page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	puts("weaklink: ready");
	fflush(stdout);
	weaklink_arm();
	for (unsigned i = 0; i < PHASES; i++) {
		uint64_t began = weaklink_phase_begin(i + 1);

		phases[i]();
		ticks[i] = weaklink_phase_end() - began;
	}
	weaklink_disarm();
	for (unsigned i = 0; i < PHASES; i++)
		printf("weaklink: phase %u odd-%u ok 1 %llu\n", i + 1, i + 1, (unsigned long long)ticks[i]);
	puts("weaklink: done");
	fflush(stdout);
	for (;;)
		pause();
}
