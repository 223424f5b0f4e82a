/* SPDX-License-Identifier: MIT */
/* Writing: every phase begins with a database of its own. */
#include "database.h"

#include <stddef.h>

#define WRITE_ROWS 1009     /* in the table before the window, where a phase needs some */
#define WRITE_KEYS_PER_TXN 5

/* SQLite's default: a journal file is made, written, synchronised and removed by every transaction. */
#define ROLLBACK "PRAGMA journal_mode = DELETE"
/* A log behind the database, copied into it every 50 pages; exclusive, so that its index is not shared memory. */
#define LOG "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 50"

static sqlite3_stmt *write_statement, *write_begin, *write_commit;
static long write_before;

static int write_start(const char *journal, long rows, const char *sql)
{
	write_before = rows;
	if (base_open(journal) || base_fill(rows))
		return -1;
	write_statement = base_prepare(sql);
	write_begin = base_prepare("BEGIN IMMEDIATE");
	write_commit = base_prepare("COMMIT");
	return write_statement && write_begin && write_commit ? 0 : -1;
}

static int write_end(int failed)
{
	base_drop(&write_statement);
	base_drop(&write_begin);
	base_drop(&write_commit);
	return base_close() | failed;
}

static int write_check_rows(long rows)
{
	return base_check("SELECT count(*) FROM item", rows) |
	       base_check("SELECT total(length(name)) FROM item", rows * 120);
}

/* ---- load: many rows in one transaction */

static int write_load_setup(long ops)
{
	(void)ops;
	return write_start(ROLLBACK, 0, BASE_INSERT);
}

static int write_load_run(long ops)
{
	if (base_step(write_begin))
		return -1;
	for (long key = 1; key <= ops; key++)
		if (base_bind(write_statement, key) || base_step(write_statement))
			return -1;
	return base_step(write_commit);
}

static int write_added_finish(long ops)
{
	return write_end(base ? write_check_rows(write_before + ops) : 0);
}

const struct app_phase write_load = {
	1, "load", "row", "What does a row cost that is loaded with many others in one transaction?",
	2003, 101, write_load_setup, write_load_run, write_added_finish,
};

/* ---- index: an index over a table that is there */

static int write_index_setup(long ops)
{
	return write_start(ROLLBACK, ops, "CREATE INDEX by_owner ON item (owner, price)");
}

static int write_index_run(long ops)
{
	(void)ops;
	return base_step(write_statement);
}

static int write_index_finish(long ops)
{
	return write_end(base ? base_check("SELECT count(*) FROM item INDEXED BY by_owner WHERE owner >= 0", ops) : 0);
}

const struct app_phase write_index = {
	2, "index", "row", "What does a row cost when an index over its table is made?",
	2003, 101, write_index_setup, write_index_run, write_index_finish,
};

/* ---- insert: a row is a transaction */

static int write_insert_setup(long ops)
{
	(void)ops;
	return write_start(ROLLBACK, WRITE_ROWS, BASE_INSERT);
}

static int write_insert_run(long ops)
{
	for (long key = WRITE_ROWS + 1; key <= WRITE_ROWS + ops; key++)
		if (base_bind(write_statement, key) || base_step(write_statement))
			return -1;
	return 0;
}

const struct app_phase write_insert = {
	3, "insert", "transaction", "What does a transaction cost that adds a row, with a rollback journal?",
	101, 7, write_insert_setup, write_insert_run, write_added_finish,
};

/* ---- insert-log: the same with a write-ahead log */

static int write_insert_log_setup(long ops)
{
	(void)ops;
	return write_start(LOG, WRITE_ROWS, BASE_INSERT);
}

const struct app_phase write_insert_log = {
	4, "insert-log", "transaction", "What does a transaction cost that adds a row, with a write-ahead log?",
	307, 7, write_insert_log_setup, write_insert_run, write_added_finish,
};

/* ---- update and delete: five rows, far from each other, are a transaction */

static int write_change(long ops)
{
	long n = 0;

	for (long i = 0; i < ops; i++) {
		if (base_step(write_begin))
			return -1;
		for (int row = 0; row < WRITE_KEYS_PER_TXN; row++) {
			sqlite3_bind_int64(write_statement, 1, base_key(n++, WRITE_ROWS));
			if (base_step(write_statement))
				return -1;
		}
		if (base_step(write_commit))
			return -1;
	}
	return 0;
}

static int write_update_setup(long ops)
{
	(void)ops;
	return write_start(ROLLBACK, WRITE_ROWS, "UPDATE item SET price = -1 WHERE id = ?1");
}

static int write_update_finish(long ops)
{
	return write_end(base ? base_check("SELECT count(*) FROM item WHERE price = -1", ops * WRITE_KEYS_PER_TXN) |
					base_check("SELECT count(*) FROM item", WRITE_ROWS)
			      : 0);
}

const struct app_phase write_update = {
	5, "update", "transaction", "What does a transaction cost that changes five rows, with a rollback journal?",
	61, 7, write_update_setup, write_change, write_update_finish,
};

static int write_delete_setup(long ops)
{
	(void)ops;
	return write_start(ROLLBACK, WRITE_ROWS, "DELETE FROM item WHERE id = ?1");
}

static int write_delete_finish(long ops)
{
	return write_end(base ? write_check_rows(WRITE_ROWS - ops * WRITE_KEYS_PER_TXN) : 0);
}

const struct app_phase write_delete = {
	6, "delete", "transaction", "What does a transaction cost that removes five rows, with a rollback journal?",
	61, 7, write_delete_setup, write_change, write_delete_finish,
};
