PRAGMA journal_mode = WAL;
CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, size REAL);
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
INSERT INTO t SELECT i, 'name ' || i, i * 1.5 FROM n;
COMMIT;
CREATE INDEX by_name ON t (name);
SELECT count(*), sum(size) FROM t WHERE name LIKE 'name 1%';
UPDATE t SET size = size + 1 WHERE id % 7 = 0;
DELETE FROM t WHERE id % 11 = 0;
PRAGMA journal_mode = DELETE;
INSERT INTO t (name) VALUES ('last');
VACUUM;
PRAGMA integrity_check;
SELECT * FROM nowhere;
