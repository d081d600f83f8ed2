CREATE OR REPLACE FUNCTION countersign_tell_user() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        PERFORM pg_notify('countersign', 'user:' || OLD.id);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        PERFORM pg_notify('countersign', 'user:' || NEW.id);
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION countersign_tell_platform() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        PERFORM pg_notify('countersign', 'platform:' || OLD.id);
        PERFORM pg_notify('countersign', 'user_platforms:' || OLD.user_id);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        PERFORM pg_notify('countersign', 'platform:' || NEW.id);
        PERFORM pg_notify('countersign', 'user_platforms:' || NEW.user_id);
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION countersign_tell_settings() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        PERFORM pg_notify('countersign', countersign_settings_name(OLD.user_id, OLD.platform_id));
    END IF;
    IF TG_OP <> 'DELETE' THEN
        PERFORM pg_notify('countersign', countersign_settings_name(NEW.user_id, NEW.platform_id));
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION countersign_tell_session() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('countersign', 'session:' || OLD.id);
    RETURN NULL;
END $$;

DROP FUNCTION countersign_tell(text);
DROP TABLE changes;
