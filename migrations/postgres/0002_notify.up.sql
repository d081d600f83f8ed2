-- Tells the channel "countersign" of every change that a context could show. Payloads: user:<id>, platform:<id>,
-- user_platforms:<user id>, settings:<user id>:<platform id>, session:<id>. In settings, % and : inside an id are
-- written %25 and %3A. Notes of last use, and the purge of sessions that are over, are not told.

CREATE FUNCTION countersign_tell_user() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        PERFORM pg_notify('countersign', 'user:' || OLD.id);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        PERFORM pg_notify('countersign', 'user:' || NEW.id);
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER countersign_user_written AFTER INSERT OR DELETE ON users
    FOR EACH ROW EXECUTE FUNCTION countersign_tell_user();
CREATE TRIGGER countersign_user_changed AFTER UPDATE ON users FOR EACH ROW
    WHEN ((OLD.id, OLD.name, OLD.roles, OLD.active, OLD.sessions_valid_after)
        IS DISTINCT FROM (NEW.id, NEW.name, NEW.roles, NEW.active, NEW.sessions_valid_after))
    EXECUTE FUNCTION countersign_tell_user();

CREATE FUNCTION countersign_tell_platform() RETURNS trigger LANGUAGE plpgsql AS $$
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

CREATE TRIGGER countersign_platform_written AFTER INSERT OR DELETE ON platforms
    FOR EACH ROW EXECUTE FUNCTION countersign_tell_platform();
CREATE TRIGGER countersign_platform_changed AFTER UPDATE ON platforms FOR EACH ROW
    WHEN ((OLD.id, OLD.user_id, OLD.type, OLD.name, OLD.url, OLD.active, OLD.is_default, OLD.credential)
        IS DISTINCT FROM
        (NEW.id, NEW.user_id, NEW.type, NEW.name, NEW.url, NEW.active, NEW.is_default, NEW.credential))
    EXECUTE FUNCTION countersign_tell_platform();

CREATE FUNCTION countersign_settings_name(user_id text, platform_id text) RETURNS text
    LANGUAGE sql IMMUTABLE AS $$
    SELECT 'settings:' || replace(replace(user_id, '%', '%25'), ':', '%3A')
        || ':' || replace(replace(platform_id, '%', '%25'), ':', '%3A')
$$;

CREATE FUNCTION countersign_tell_settings() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        PERFORM pg_notify('countersign', countersign_settings_name(OLD.user_id, OLD.platform_id));
    END IF;
    IF TG_OP <> 'DELETE' THEN
        PERFORM pg_notify('countersign', countersign_settings_name(NEW.user_id, NEW.platform_id));
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER countersign_settings_written AFTER INSERT OR DELETE ON user_settings
    FOR EACH ROW EXECUTE FUNCTION countersign_tell_settings();
CREATE TRIGGER countersign_settings_changed AFTER UPDATE ON user_settings FOR EACH ROW
    WHEN ((OLD.user_id, OLD.platform_id, OLD.settings)
        IS DISTINCT FROM (NEW.user_id, NEW.platform_id, NEW.settings))
    EXECUTE FUNCTION countersign_tell_settings();

CREATE FUNCTION countersign_tell_session() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('countersign', 'session:' || OLD.id);
    RETURN NULL;
END $$;

CREATE TRIGGER countersign_session_changed AFTER UPDATE ON sessions FOR EACH ROW
    WHEN ((OLD.id, OLD.user_id, OLD.platform_id, OLD.authenticated_at, OLD.expires_at, OLD.ended_at,
            OLD.predecessor, OLD.successor, OLD.actor_id, OLD.version)
        IS DISTINCT FROM
        (NEW.id, NEW.user_id, NEW.platform_id, NEW.authenticated_at, NEW.expires_at, NEW.ended_at,
            NEW.predecessor, NEW.successor, NEW.actor_id, NEW.version))
    EXECUTE FUNCTION countersign_tell_session();
CREATE TRIGGER countersign_session_deleted AFTER DELETE ON sessions FOR EACH ROW
    WHEN (OLD.ended_at IS NULL AND OLD.expires_at > extract(epoch FROM clock_timestamp()) * 1000)
    EXECUTE FUNCTION countersign_tell_session();
