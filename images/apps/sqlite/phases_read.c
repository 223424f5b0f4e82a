/* SPDX-License-Identifier: MIT */
/* Reading: a table of about 330 KiB and its index, a cache of 96 KiB, so that pages come from the file system. */
#include "database.h"

#include <stddef.h>
#include <stdio.h>

#define READ_ROWS 2003
#define READ_RANGE 199

static sqlite3_stmt *read_query;

static int read_start(const char *sql)
{
	if (base_open("PRAGMA journal_mode = DELETE") || base_fill(READ_ROWS) ||
	    base_run("CREATE INDEX by_owner ON item (owner, price)") ||
	    base_run("CREATE TABLE owner (id INTEGER PRIMARY KEY, region INTEGER)") ||
	    base_run("WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 250) "
		     "INSERT INTO owner SELECT i, i % 7 FROM n"))
		return -1;
	read_query = base_prepare(sql);
	return read_query ? 0 : -1;
}

static int read_finish(long ops)
{
	(void)ops;
	base_drop(&read_query);
	return base_close();
}

/* ---- lookup: a row by its key */

static int read_lookup_setup(long ops)
{
	(void)ops;
	return read_start("SELECT price FROM item WHERE id = ?1");
}

static int read_lookup_run(long ops)
{
	for (long i = 0; i < ops; i++) {
		sqlite3_int64 key = base_key(i, READ_ROWS);

		sqlite3_bind_int64(read_query, 1, key);
		if (base_expect(read_query, base_price(key)))
			return -1;
	}
	return 0;
}

const struct app_phase read_lookup = {
	7, "lookup", "query", "What does it cost to find a row by its key?",
	503, 31, read_lookup_setup, read_lookup_run, read_finish,
};

/* ---- range: rows side by side */

static int read_range_setup(long ops)
{
	(void)ops;
	return read_start("SELECT sum(price) FROM item WHERE id BETWEEN ?1 AND ?1 + 198");
}

static int read_range_run(long ops)
{
	for (long i = 0; i < ops; i++) {
		sqlite3_int64 first = base_key(i, READ_ROWS - READ_RANGE), sum = 0;

		for (sqlite3_int64 key = first; key < first + READ_RANGE; key++)
			sum += base_price(key);
		sqlite3_bind_int64(read_query, 1, first);
		if (base_expect(read_query, sum))
			return -1;
	}
	return 0;
}

const struct app_phase read_range = {
	8, "range", "query", "What does it cost to read 199 rows that lie side by side?",
	61, 7, read_range_setup, read_range_run, read_finish,
};

/* ---- join: rows of one table for those of another, through an index */

static sqlite3_int64 read_join_sum;

static int read_join_setup(long ops)
{
	(void)ops;
	read_join_sum = 0;
	for (sqlite3_int64 key = 1; key <= READ_ROWS; key++)
		if (base_owner(key) % 7 == 3)
			read_join_sum += base_price(key) + key % 2;
	return read_start("SELECT sum(item.price + item.id % 2) FROM owner CROSS JOIN item ON item.owner = owner.id "
			  "WHERE owner.region = 3 AND length(item.name) = 120");
}

static int read_same_run(long ops)
{
	for (long i = 0; i < ops; i++)
		if (base_expect(read_query, read_join_sum))
			return -1;
	return 0;
}

const struct app_phase read_join = {
	9, "join", "query", "What does a join cost that finds 287 rows through an index?",
	11, 3, read_join_setup, read_same_run, read_finish,
};

/* ---- aggregate: the whole table, in groups */

static int read_aggregate_setup(long ops)
{
	sqlite3_int64 sums[BASE_OWNERS] = { 0 }, largest = 0;

	(void)ops;
	for (sqlite3_int64 key = 1; key <= READ_ROWS; key++)
		sums[base_owner(key)] += base_price(key);
	for (int owner = 0; owner < BASE_OWNERS; owner++)
		if (sums[owner] > largest)
			largest = sums[owner];
	read_join_sum = largest;
	return read_start("SELECT max(total) FROM (SELECT sum(price) AS total FROM item NOT INDEXED GROUP BY owner)");
}

const struct app_phase read_aggregate = {
	10, "aggregate", "query", "What does it cost to group and sum a whole table of 2003 rows?",
	5, 2, read_aggregate_setup, read_same_run, read_finish,
};

/* ---- connect: open, one query, close */

static int read_connect_setup(long ops)
{
	(void)ops;
	return read_start("SELECT 1");
}

static int read_connect_run(long ops)
{
	sqlite3 *first = base;
	const char *path = sqlite3_db_filename(first, "main");
	int failed = 0;

	for (long i = 0; i < ops && !failed; i++) {
		sqlite3_stmt *query = NULL;

		base = NULL;
		if (sqlite3_open_v2(path, &base, SQLITE_OPEN_READONLY, NULL))
			failed = app_wrong("a second connection cannot be opened");
		else if (!(query = base_prepare("SELECT count(*) FROM owner")))
			failed = -1;
		else
			failed = base_expect(query, BASE_OWNERS);
		base_drop(&query);
		sqlite3_close(base);
	}
	base = first;
	return failed;
}

const struct app_phase read_connect = {
	11, "connect", "connection", "What does it cost to open a database, ask it one thing and close it?",
	101, 7, read_connect_setup, read_connect_run, read_finish,
};
