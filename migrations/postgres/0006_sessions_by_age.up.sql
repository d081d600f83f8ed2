-- The list of all sessions, newest first, page by page. Not CONCURRENTLY: no table is large before the first release,
-- and two migrations at once would wait for each other.
CREATE INDEX sessions_by_age ON sessions (created_at DESC, id DESC) WHERE ended_at IS NULL;
