-- What is ours about sessions that other frameworks keep: that they were ended through a proxy, which platform was chosen,
-- and when a proxy first saw them. The store has it too; this is what is left when the store is away or has lost it.
-- Named apart, because the database may be the application's own (migrations/existing/foreign_sessions.sql).

CREATE TABLE countersign_foreign_sessions (
    -- base64url(SHA-256(the key of the session)); never the key itself.
    id text COLLATE "C" PRIMARY KEY CHECK (id ~ '^[A-Za-z0-9_-]{43}$'),
    -- Whose, as far as known. No foreign key: people may be in tables that are not ours.
    user_id text COLLATE "C",
    seen_at bigint NOT NULL CHECK (seen_at >= 0),
    -- Whether a platform was chosen here; NULL is the user's default then.
    has_choice boolean NOT NULL DEFAULT false,
    platform_id text COLLATE "C",
    ended_at bigint CHECK (ended_at >= 0),
    kept_until bigint NOT NULL CHECK (kept_until >= 0),
    -- Counts ends and choices.
    version bigint NOT NULL DEFAULT 1 CHECK (version > 0)
);

CREATE INDEX countersign_foreign_sessions_kept ON countersign_foreign_sessions (kept_until);

CREATE FUNCTION countersign_tell_foreign_session() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM countersign_tell('foreign_session:' || NEW.id);
    RETURN NULL;
END $$;

-- That one was seen, or is kept longer, changes nothing that a context shows.
CREATE TRIGGER countersign_foreign_session_written AFTER INSERT ON countersign_foreign_sessions FOR EACH ROW
    WHEN (NEW.has_choice OR NEW.ended_at IS NOT NULL)
    EXECUTE FUNCTION countersign_tell_foreign_session();
CREATE TRIGGER countersign_foreign_session_changed AFTER UPDATE ON countersign_foreign_sessions FOR EACH ROW
    WHEN ((OLD.has_choice, OLD.platform_id, OLD.ended_at, OLD.version)
        IS DISTINCT FROM (NEW.has_choice, NEW.platform_id, NEW.ended_at, NEW.version))
    EXECUTE FUNCTION countersign_tell_foreign_session();
