/* SPDX-License-Identifier: MIT */
/* The table of phases: three series, each over more and more threads or connections. */
#include "crowd.h"

const char app_name[] = "crowd";

#define CROWD_PHASE(number, series, count, op, question, ops, warm)                                                    \
	static int crowd_##series##_setup_##count(long n)                                                              \
	{                                                                                                              \
		return crowd_##series##_setup(count, n);                                                               \
	}                                                                                                              \
	static int crowd_##series##_run_##count(long n)                                                                \
	{                                                                                                              \
		return crowd_##series##_run(count, n);                                                                 \
	}                                                                                                              \
	static int crowd_##series##_finish_##count(long n)                                                             \
	{                                                                                                              \
		return crowd_##series##_finish(count, n);                                                              \
	}                                                                                                              \
	static const struct app_phase crowd_##series##_##count = {                                                     \
		number, #series "-" #count, op, question, ops, warm, crowd_##series##_setup_##count,                   \
		crowd_##series##_run_##count, crowd_##series##_finish_##count,                                         \
	};

CROWD_PHASE(1, mutex, 2, "lock and unlock",
	    "What does a mutex cost that is always held, among 2 threads?", 211, 67)
CROWD_PHASE(2, mutex, 3, "lock and unlock",
	    "What does a mutex cost that is always held, among 3 threads?", 211, 67)
CROWD_PHASE(3, mutex, 4, "lock and unlock",
	    "What does a mutex cost that is always held, among 4 threads?", 211, 67)
CROWD_PHASE(4, mutex, 6, "lock and unlock",
	    "What does a mutex cost that is always held, among 6 threads?", 211, 67)
CROWD_PHASE(5, mutex, 8, "lock and unlock",
	    "What does a mutex cost that is always held, among 8 threads?", 211, 67)
CROWD_PHASE(6, mutex, 10, "lock and unlock",
	    "What does a mutex cost that is always held, among 10 threads?", 211, 67)
CROWD_PHASE(7, mutex, 12, "lock and unlock",
	    "What does a mutex cost that is always held, among 12 threads?", 211, 67)
CROWD_PHASE(8, mutex, 16, "lock and unlock",
	    "What does a mutex cost that is always held, among 16 threads?", 211, 67)
CROWD_PHASE(9, herd, 1, "event",
	    "What does an event cost that 1 thread polls for, on 1 descriptor?", 101, 17)
CROWD_PHASE(10, herd, 2, "event",
	    "What does an event cost that 2 threads poll for, on 2 descriptors?", 101, 17)
CROWD_PHASE(11, herd, 3, "event",
	    "What does an event cost that 3 threads poll for, on 3 descriptors?", 101, 17)
CROWD_PHASE(12, herd, 4, "event",
	    "What does an event cost that 4 threads poll for, on 4 descriptors?", 101, 17)
CROWD_PHASE(13, herd, 6, "event",
	    "What does an event cost that 6 threads poll for, on 6 descriptors?", 101, 17)
CROWD_PHASE(14, herd, 8, "event",
	    "What does an event cost that 8 threads poll for, on 8 descriptors?", 101, 17)
CROWD_PHASE(15, herd, 12, "event",
	    "What does an event cost that 12 threads poll for, on 12 descriptors?", 101, 17)
CROWD_PHASE(16, herd, 16, "event",
	    "What does an event cost that 16 threads poll for, on 16 descriptors?", 101, 17)
CROWD_PHASE(17, server, 1, "round trip",
	    "What does a round trip cost on one of 1 connection, all of which a thread polls?", 101, 67)
CROWD_PHASE(18, server, 2, "round trip",
	    "What does a round trip cost on one of 2 connections, all of which a thread polls?", 101, 67)
CROWD_PHASE(19, server, 4, "round trip",
	    "What does a round trip cost on one of 4 connections, all of which a thread polls?", 101, 67)
CROWD_PHASE(20, server, 8, "round trip",
	    "What does a round trip cost on one of 8 connections, all of which a thread polls?", 101, 67)
CROWD_PHASE(21, server, 16, "round trip",
	    "What does a round trip cost on one of 16 connections, all of which a thread polls?", 101, 67)
CROWD_PHASE(22, server, 24, "round trip",
	    "What does a round trip cost on one of 24 connections, all of which a thread polls?", 101, 67)
CROWD_PHASE(23, server, 32, "round trip",
	    "What does a round trip cost on one of 32 connections, all of which a thread polls?", 101, 67)
CROWD_PHASE(24, server, 64, "round trip",
	    "What does a round trip cost on one of 64 connections, all of which a thread polls?", 101, 67)

const struct app_phase *const app_phases[] = {
	&crowd_mutex_2, &crowd_mutex_3, &crowd_mutex_4, &crowd_mutex_6,
	&crowd_mutex_8, &crowd_mutex_10, &crowd_mutex_12, &crowd_mutex_16,
	&crowd_herd_1, &crowd_herd_2, &crowd_herd_3, &crowd_herd_4,
	&crowd_herd_6, &crowd_herd_8, &crowd_herd_12, &crowd_herd_16,
	&crowd_server_1, &crowd_server_2, &crowd_server_4, &crowd_server_8,
	&crowd_server_16, &crowd_server_24, &crowd_server_32, &crowd_server_64,
};
const size_t app_phase_count = sizeof app_phases / sizeof app_phases[0];
