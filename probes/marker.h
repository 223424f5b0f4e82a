/* SPDX-License-Identifier: MIT */
/*
 * What an app includes to tell the exec probe where its windows are.  x86-64, gcc or clang, any operating system.
 *
 * A marker is the instruction `nopl 0x5eed00NN(%rax)` (0f 1f 80 NN 00 ed 5e): an unprivileged no-op on every kernel and
 * every hypervisor, which the probe recognises when QEMU translates it.  docs/architecture.md lists the numbers.
 *
 *     weaklink_arm();                                      once, after the line "weaklink: ready"
 *     uint64_t t0 = weaklink_phase_begin(number);          number in 0 .. WEAKLINK_PHASES - 1
 *     ... the work, by this thread and by others that it waits for ...
 *     uint64_t t1 = weaklink_phase_end();
 *     weaklink_disarm();                                   then print "weaklink: phase ..." with t1 - t0
 *
 * The order in the window is: begin marker, RDTSC, work, RDTSC, end marker.  One instruction (a jump) lies between the
 * begin marker and its RDTSC, and the two or three that put a time stamp together lie on the side of the work or behind
 * the end marker, so the probe's count of a window and t1 - t0 agree within a few instructions.
 */
#ifndef WEAKLINK_MARKER_H
#define WEAKLINK_MARKER_H

#include <stdint.h>

#define WEAKLINK_PHASES 200

#define WEAKLINK_MARK_(nn) ".byte 0x0f, 0x1f, 0x80, " #nn ", 0x00, 0xed, 0x5e\n\t"

/* From here on the probe may instrument. */
static inline __attribute__((always_inline)) void weaklink_arm(void)
{
	__asm__ volatile(WEAKLINK_MARK_(0x01) ::: "memory");
}

/* Nothing after this is of interest. */
static inline __attribute__((always_inline)) void weaklink_disarm(void)
{
	__asm__ volatile(WEAKLINK_MARK_(0x02) ::: "memory");
}

/* Of a launcher that waited for a program without markers: it is over. */
static inline __attribute__((always_inline)) void weaklink_ended(void)
{
	__asm__ volatile(WEAKLINK_MARK_(0x04) ::: "memory");
}

/* The time stamp counter; under -icount it is virtual time. */
static inline __attribute__((always_inline)) uint64_t weaklink_rdtsc(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}

/*
 * Opens the window of phase `number`; returns the time stamp.  The number is part of the instruction, so there is one
 * stub of 16 bytes per number; finding the stub happens before the marker.
 */
static inline __attribute__((always_inline)) uint64_t weaklink_phase_begin(unsigned number)
{
	uint64_t stub = (uint64_t)(number < WEAKLINK_PHASES ? number : WEAKLINK_PHASES - 1) * 16;
	uint32_t low, high;

	__asm__ volatile("leaq 771f(%%rip), %%rdx\n\t"
			 "addq %%rdx, %%rax\n\t"
			 "jmp *%%rax\n\t"
			 ".p2align 4\n"
			 "771:\n\t"
			 ".set weaklink_nn, 0x10\n\t"
			 ".rept 200\n\t"
			 WEAKLINK_MARK_(weaklink_nn)
			 "jmp 772f\n\t"
			 ".p2align 4\n\t"
			 ".set weaklink_nn, weaklink_nn + 1\n\t"
			 ".endr\n"
			 "772:\n\t"
			 "rdtsc"
			 : "=a"(low), "=d"(high)
			 : "a"(stub)
			 : "memory", "cc");
	return (uint64_t)high << 32 | low;
}

/* Closes the window; returns the time stamp. */
static inline __attribute__((always_inline)) uint64_t weaklink_phase_end(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc\n\t" WEAKLINK_MARK_(0x03) : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}

#endif
