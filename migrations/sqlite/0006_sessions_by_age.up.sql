-- The list of all sessions, newest first, page by page.
CREATE INDEX sessions_by_age ON sessions (created_at DESC, id DESC) WHERE ended_at IS NULL;
