/* SPDX-License-Identifier: MIT */
/* What the phases of this app share.  Functions of ours begin with base_, SQLite's with sqlite3 or names of its own. */
#ifndef DATABASE_H
#define DATABASE_H

#include "app.h"
#include "sqlite3.h"

#define BASE_OWNERS 251 /* prime, so that owners and keys share no pattern */

/* The connection that all phases use, from setup to finish. */
extern sqlite3 *base;

/* Opens a new database in the memory file system; `journal` is an SQL statement that sets its mode. */
int base_open(const char *journal);
/* Puts `rows` rows into the table item, keys 1 to `rows`, in one transaction. */
int base_fill(long rows);
/* Closes the database and removes its files; complains if SQLite finds it damaged. */
int base_close(void);

/* Runs SQL that gives no rows. */
int base_run(const char *sql);
/* Prepares a statement. */
sqlite3_stmt *base_prepare(const char *sql);
/* Steps a statement that gives no row, and resets it. */
int base_step(sqlite3_stmt *statement);
/* Steps a statement that gives one row, whose first column must be `expected`, and resets it. */
int base_expect(sqlite3_stmt *statement, sqlite3_int64 expected);
/* Outside windows: what a query that gives one number gives. */
int base_check(const char *sql, sqlite3_int64 expected);
/* Gives a statement back, and forgets it. */
void base_drop(sqlite3_stmt **statement);

/* What is in the row with this key: everything follows from the key. */
sqlite3_int64 base_owner(sqlite3_int64 key);
sqlite3_int64 base_price(sqlite3_int64 key);
/* An SQL statement for one row of item; parameters: key, owner, price, and the name that base_bind makes. */
#define BASE_INSERT "INSERT INTO item (id, owner, price, name) VALUES (?1, ?2, ?3, ?4)"
int base_bind(sqlite3_stmt *insert, sqlite3_int64 key);

/* The n-th of `keys` keys in an order without order; every key comes once in `keys` calls if `keys` is prime. */
sqlite3_int64 base_key(long n, long keys);

#endif
