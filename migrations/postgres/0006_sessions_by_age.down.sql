-- no-transaction
DROP INDEX CONCURRENTLY sessions_by_age;
