/* SPDX-License-Identifier: MIT */
/* SQLite on a memory file system: what an app asks of a kernel that writes and reads a small database. */
#include "app.h"

const char app_name[] = "sqlite";

extern const struct app_phase write_load, write_index, write_insert, write_insert_log, write_update, write_delete;
extern const struct app_phase read_lookup, read_range, read_join, read_aggregate, read_connect;

const struct app_phase *const app_phases[] = {
	&write_load,
	&write_index,
	&write_insert,
	&write_insert_log,
	&write_update,
	&write_delete,
	&read_lookup,
	&read_range,
	&read_join,
	&read_aggregate,
	&read_connect,
};
const size_t app_phase_count = sizeof(app_phases) / sizeof(app_phases[0]);
