-- What is ours about sessions that other frameworks keep: that they were ended through a proxy, which platform was chosen,
-- and when a proxy first saw them (postgres/0007_foreign_sessions).

CREATE TABLE countersign_foreign_sessions (
    id text NOT NULL PRIMARY KEY CHECK (length(id) = 43),
    user_id text,
    seen_at integer NOT NULL CHECK (seen_at >= 0),
    -- Whether a platform was chosen here; NULL is the user's default then.
    has_choice boolean NOT NULL DEFAULT false,
    platform_id text,
    ended_at integer CHECK (ended_at >= 0),
    kept_until integer NOT NULL CHECK (kept_until >= 0),
    -- Counts ends and choices.
    version integer NOT NULL DEFAULT 1 CHECK (version > 0)
);

CREATE INDEX countersign_foreign_sessions_kept ON countersign_foreign_sessions (kept_until);

CREATE TRIGGER tell_foreign_session_insert AFTER INSERT ON countersign_foreign_sessions FOR EACH ROW
    WHEN NEW.has_choice OR NEW.ended_at IS NOT NULL
BEGIN
    INSERT INTO changes (what) VALUES ('foreign_session:' || NEW.id);
END;

CREATE TRIGGER tell_foreign_session_update AFTER UPDATE ON countersign_foreign_sessions FOR EACH ROW
    WHEN OLD.has_choice IS NOT NEW.has_choice OR OLD.platform_id IS NOT NEW.platform_id
        OR OLD.ended_at IS NOT NEW.ended_at OR OLD.version IS NOT NEW.version
BEGIN
    INSERT INTO changes (what) VALUES ('foreign_session:' || NEW.id);
END;
