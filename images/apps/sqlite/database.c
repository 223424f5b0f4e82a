/* SPDX-License-Identifier: MIT */
/* The database of this app: one file, one connection, the same content whenever and wherever it is made. */
#include "database.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BASE_NAME_BYTES 120

sqlite3 *base;

static char base_path[96];
static sqlite3_vfs base_files;

/* SQLite asks its system for random numbers (journal headers) and the time: always the same, or runs would differ. */
static int base_random(sqlite3_vfs *files, int bytes, char *out)
{
	unsigned state = 12345;

	(void)files;
	for (int i = 0; i < bytes; i++) {
		state = state * 1103515245u + 12345u;
		out[i] = (char)(state >> 16);
	}
	return bytes;
}

static int base_time(sqlite3_vfs *files, sqlite3_int64 *milliseconds)
{
	(void)files;
	*milliseconds = 212000000000000; /* of the Julian calendar: a day in 2005 */
	return SQLITE_OK;
}

static int base_complain(const char *what)
{
	return app_wrong_about(what, base ? sqlite3_errmsg(base) : "no database");
}

int base_run(const char *sql)
{
	return sqlite3_exec(base, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : base_complain(sql);
}

sqlite3_stmt *base_prepare(const char *sql)
{
	sqlite3_stmt *statement = NULL;

	if (sqlite3_prepare_v3(base, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL) != SQLITE_OK)
		base_complain(sql);
	return statement;
}

int base_step(sqlite3_stmt *statement)
{
	int code = sqlite3_step(statement);

	if (code != SQLITE_DONE || sqlite3_reset(statement) != SQLITE_OK)
		return base_complain("a statement failed");
	return 0;
}

int base_expect(sqlite3_stmt *statement, sqlite3_int64 expected)
{
	sqlite3_int64 got;

	if (sqlite3_step(statement) != SQLITE_ROW)
		return base_complain("a query gave no row");
	got = sqlite3_column_int64(statement, 0);
	if (sqlite3_reset(statement) != SQLITE_OK)
		return base_complain("a query failed");
	return got == expected ? 0 : app_wrong("a query gave another result");
}

int base_check(const char *sql, sqlite3_int64 expected)
{
	sqlite3_stmt *statement = base_prepare(sql);
	int failed = statement ? base_expect(statement, expected) : -1;

	base_drop(&statement);
	return failed;
}

void base_drop(sqlite3_stmt **statement)
{
	sqlite3_finalize(*statement);
	*statement = NULL;
}

sqlite3_int64 base_owner(sqlite3_int64 key)
{
	return key * 17 % BASE_OWNERS;
}

sqlite3_int64 base_price(sqlite3_int64 key)
{
	return key * 31 % 1009;
}

sqlite3_int64 base_key(long n, long keys)
{
	return n * 619L % keys + 1;
}

int base_bind(sqlite3_stmt *insert, sqlite3_int64 key)
{
	static char name[BASE_NAME_BYTES];

	for (int i = 0; i < BASE_NAME_BYTES; i++)
		name[i] = (char)('a' + (key + i * 7) % 26);
	if (sqlite3_bind_int64(insert, 1, key) || sqlite3_bind_int64(insert, 2, base_owner(key)) ||
	    sqlite3_bind_int64(insert, 3, base_price(key)) ||
	    sqlite3_bind_text(insert, 4, name, BASE_NAME_BYTES, SQLITE_STATIC))
		return base_complain("a value could not be bound");
	return 0;
}

static int base_set_up(void)
{
	sqlite3_vfs *files;

	if (base_files.zName)
		return 0;
	if (sqlite3_initialize() || !(files = sqlite3_vfs_find(NULL)))
		return app_wrong("SQLite does not start");
	base_files = *files;
	base_files.zName = "same";
	base_files.xRandomness = base_random;
	base_files.xCurrentTimeInt64 = base_time;
	return sqlite3_vfs_register(&base_files, 1) ? app_wrong("SQLite takes no file system") : 0;
}

int base_open(const char *journal)
{
	if (base_set_up())
		return -1;
	snprintf(base_path, sizeof base_path, "%s/data.db", app_folder);
	if (sqlite3_open_v2(base_path, &base, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL))
		return base_complain("cannot open the database");
	/* a page as large as the guest's; a cache that does not hold the table, or reading would ask nothing of the kernel */
	return base_run("PRAGMA page_size = 4096; PRAGMA cache_size = 24; PRAGMA synchronous = FULL") || base_run(journal) ||
	       base_run("CREATE TABLE item (id INTEGER PRIMARY KEY, owner INTEGER, price INTEGER, name TEXT)");
}

int base_fill(long rows)
{
	sqlite3_stmt *insert;
	int failed = base_run("BEGIN");

	insert = failed ? NULL : base_prepare(BASE_INSERT);
	failed |= !insert;
	for (long key = 1; key <= rows && !failed; key++)
		failed = base_bind(insert, key) || base_step(insert);
	base_drop(&insert);
	return failed || base_run("COMMIT") ? -1 : 0;
}

int base_close(void)
{
	static const char *const endings[] = { "", "-journal", "-wal", "-shm" };
	int failed = 0;

	if (base) {
		sqlite3_stmt *check = base_prepare("PRAGMA integrity_check");

		if (check && sqlite3_step(check) == SQLITE_ROW &&
		    strcmp((const char *)sqlite3_column_text(check, 0), "ok"))
			failed = app_wrong("SQLite finds its database damaged");
		base_drop(&check);
		if (sqlite3_close(base) != SQLITE_OK)
			failed = base_complain("the database cannot be closed");
		base = NULL;
	}
	for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
		char path[sizeof base_path + 16];

		snprintf(path, sizeof path, "%s%s", base_path, endings[i]);
		unlink(path);
	}
	return failed;
}
