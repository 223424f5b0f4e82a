/* SPDX-License-Identifier: MIT */
/* The tour: one phase per known kernel question. */
#include "tour.h"

#include <unistd.h>

const char app_name[] = "tour";

const struct app_phase *const app_phases[] = {
	&tour_null_call,
	&tour_clock_read,
	&tour_mutex_free,
	&tour_mutex_contended,
	&tour_condvar_pingpong,
	&tour_pipe_pingpong,
	&tour_pipe_throughput,
	&tour_malloc_one,
	&tour_malloc_several,
	&tour_page_touch,
	&tour_map_unmap,
	&tour_file_create,
	&tour_file_tree,
	&tour_file_write,
	&tour_file_read,
	&tour_shared_poll,
	&tour_tcp_pingpong,
	&tour_tcp_stream,
	&tour_epoll_100,
	&tour_poll_100,
	&tour_thread_create,
	&tour_fork_wait,
};
const size_t app_phase_count = sizeof(app_phases) / sizeof(app_phases[0]);

void tour_close(int *descriptor)
{
	if (*descriptor >= 0)
		close(*descriptor);
	*descriptor = -1;
}

void tour_close_pipe(int *ends)
{
	tour_close(&ends[0]);
	tour_close(&ends[1]);
}
