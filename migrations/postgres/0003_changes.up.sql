-- Every change that is told is also written down, so that whoever was deaf, or could not write to the store, can go
-- through what was missed, also when the proxy that made a change is gone. Told and written in one transaction.
--
-- A reader asks for everything from a transaction on, and gets with the answer the oldest transaction that was still
-- under way: where it begins the next time. So nothing that is committed late is passed over, and no clock matters.

CREATE TABLE changes (
    transaction bigint NOT NULL DEFAULT (pg_current_xact_id()::text::bigint),
    id bigint GENERATED ALWAYS AS IDENTITY,
    at bigint NOT NULL DEFAULT (extract(epoch FROM clock_timestamp()) * 1000)::bigint,
    what text NOT NULL,
    PRIMARY KEY (transaction, id)
);

CREATE INDEX changes_at ON changes (at);

-- With the rights of the owner: an application that may write to users needs no right to this table.
CREATE FUNCTION countersign_tell(what text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $$
BEGIN
    INSERT INTO changes (what) VALUES ($1);
    PERFORM pg_notify('countersign', $1);
END $$;

CREATE OR REPLACE FUNCTION countersign_tell_user() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        PERFORM countersign_tell('user:' || OLD.id);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        PERFORM countersign_tell('user:' || NEW.id);
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION countersign_tell_platform() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        PERFORM countersign_tell('platform:' || OLD.id);
        PERFORM countersign_tell('user_platforms:' || OLD.user_id);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        PERFORM countersign_tell('platform:' || NEW.id);
        PERFORM countersign_tell('user_platforms:' || NEW.user_id);
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION countersign_tell_settings() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        PERFORM countersign_tell(countersign_settings_name(OLD.user_id, OLD.platform_id));
    END IF;
    IF TG_OP <> 'DELETE' THEN
        PERFORM countersign_tell(countersign_settings_name(NEW.user_id, NEW.platform_id));
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION countersign_tell_session() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM countersign_tell('session:' || OLD.id);
    RETURN NULL;
END $$;

-- Sessions that ended before this table was there.
INSERT INTO changes (what)
SELECT 'session:' || id FROM sessions
WHERE ended_at IS NOT NULL AND expires_at > extract(epoch FROM clock_timestamp()) * 1000;
