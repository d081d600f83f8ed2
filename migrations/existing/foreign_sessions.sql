-- For an existing schema: a place of ours for what a proxy knows about the application's sessions (that they were ended
-- through it, which platform was chosen, when it first saw them), so that this survives Redis, and for the moments at which
-- people logged out everywhere. Apply it before a proxy is put in front, as the owner of the database, and let the proxy's
-- role use it:
--
--     psql -d DATABASE -f migrations/existing/foreign_sessions.sql
--     GRANT SELECT, INSERT, UPDATE, DELETE ON countersign_foreign_sessions, countersign_foreign_changes TO countersign;
--     GRANT SELECT, INSERT, UPDATE ON countersign_foreign_users TO countersign;
--
-- Nothing of the application is touched. Where tables of ours are used, `countersign migrate up` has made it already.
-- With a schema of its own, create that first and set the role's search_path to it (and the application's):
--
--     CREATE SCHEMA countersign;  SET search_path TO countersign;  \i migrations/existing/foreign_sessions.sql

BEGIN;

CREATE TABLE countersign_foreign_sessions (
    -- base64url(SHA-256(the key of the session)); never the key itself.
    id text COLLATE "C" PRIMARY KEY CHECK (id ~ '^[A-Za-z0-9_-]{43}$'),
    user_id text COLLATE "C",
    seen_at bigint NOT NULL CHECK (seen_at >= 0),
    has_choice boolean NOT NULL DEFAULT false,
    platform_id text COLLATE "C",
    ended_at bigint CHECK (ended_at >= 0),
    kept_until bigint NOT NULL CHECK (kept_until >= 0),
    version bigint NOT NULL DEFAULT 1 CHECK (version > 0)
);

CREATE INDEX countersign_foreign_sessions_kept ON countersign_foreign_sessions (kept_until);

-- Ends and choices in the order of their transactions, for proxies that bring them to Redis when it is back.
CREATE TABLE countersign_foreign_changes (
    transaction bigint NOT NULL DEFAULT (pg_current_xact_id()::text::bigint),
    id bigint GENERATED ALWAYS AS IDENTITY,
    at bigint NOT NULL DEFAULT (extract(epoch FROM clock_timestamp()) * 1000)::bigint,
    what text NOT NULL,
    PRIMARY KEY (transaction, id)
);

CREATE INDEX countersign_foreign_changes_at ON countersign_foreign_changes (at);

CREATE FUNCTION countersign_tell_foreign_session() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO countersign_foreign_changes (what) VALUES ('foreign_session:' || NEW.id);
    PERFORM pg_notify('countersign', 'foreign_session:' || NEW.id);
    RETURN NULL;
END $$;

CREATE TRIGGER countersign_foreign_session_written AFTER INSERT ON countersign_foreign_sessions FOR EACH ROW
    WHEN (NEW.has_choice OR NEW.ended_at IS NOT NULL)
    EXECUTE FUNCTION countersign_tell_foreign_session();
CREATE TRIGGER countersign_foreign_session_changed AFTER UPDATE ON countersign_foreign_sessions FOR EACH ROW
    WHEN ((OLD.has_choice, OLD.platform_id, OLD.ended_at, OLD.version)
        IS DISTINCT FROM (NEW.has_choice, NEW.platform_id, NEW.ended_at, NEW.version))
    EXECUTE FUNCTION countersign_tell_foreign_session();

-- What tables of ours have in a column of their users.
CREATE TABLE countersign_foreign_users (
    -- As the query for users writes it.
    id text COLLATE "C" PRIMARY KEY,
    -- Sessions that began before are over.
    sessions_valid_after bigint NOT NULL CHECK (sessions_valid_after >= 0)
);

CREATE FUNCTION countersign_tell_foreign_user() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO countersign_foreign_changes (what) VALUES ('user:' || NEW.id);
    PERFORM pg_notify('countersign', 'user:' || NEW.id);
    RETURN NULL;
END $$;

CREATE TRIGGER countersign_foreign_user_written AFTER INSERT OR UPDATE ON countersign_foreign_users FOR EACH ROW
    EXECUTE FUNCTION countersign_tell_foreign_user();

COMMIT;
