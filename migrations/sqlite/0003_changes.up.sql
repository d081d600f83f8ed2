-- Every change that a context could show is written down, so that whoever could not write to the store can go through
-- what it missed. The words are those of the other database's channel (postgres/0002_notify).

CREATE TABLE changes (
    id integer PRIMARY KEY AUTOINCREMENT,
    at integer NOT NULL DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000 AS integer)),
    what text NOT NULL
);

CREATE INDEX changes_at ON changes (at);

CREATE TRIGGER tell_user_insert AFTER INSERT ON users FOR EACH ROW
BEGIN
    INSERT INTO changes (what) VALUES ('user:' || NEW.id);
END;

CREATE TRIGGER tell_user_delete AFTER DELETE ON users FOR EACH ROW
BEGIN
    INSERT INTO changes (what) VALUES ('user:' || OLD.id);
END;

CREATE TRIGGER tell_user_update AFTER UPDATE ON users FOR EACH ROW
    WHEN OLD.id IS NOT NEW.id OR OLD.name IS NOT NEW.name OR OLD.roles IS NOT NEW.roles OR OLD.active IS NOT NEW.active OR OLD.sessions_valid_after IS NOT NEW.sessions_valid_after
BEGIN
    INSERT INTO changes (what) VALUES ('user:' || OLD.id), ('user:' || NEW.id);
END;

CREATE TRIGGER tell_platform_insert AFTER INSERT ON platforms FOR EACH ROW
BEGIN
    INSERT INTO changes (what) VALUES ('platform:' || NEW.id), ('user_platforms:' || NEW.user_id);
END;

CREATE TRIGGER tell_platform_delete AFTER DELETE ON platforms FOR EACH ROW
BEGIN
    INSERT INTO changes (what) VALUES ('platform:' || OLD.id), ('user_platforms:' || OLD.user_id);
END;

CREATE TRIGGER tell_platform_update AFTER UPDATE ON platforms FOR EACH ROW
    WHEN OLD.id IS NOT NEW.id OR OLD.user_id IS NOT NEW.user_id OR OLD.type IS NOT NEW.type OR OLD.name IS NOT NEW.name OR OLD.url IS NOT NEW.url OR OLD.active IS NOT NEW.active OR OLD.is_default IS NOT NEW.is_default OR OLD.credential IS NOT NEW.credential
BEGIN
    INSERT INTO changes (what) VALUES ('platform:' || OLD.id), ('user_platforms:' || OLD.user_id),
        ('platform:' || NEW.id), ('user_platforms:' || NEW.user_id);
END;

CREATE TRIGGER tell_settings_insert AFTER INSERT ON user_settings FOR EACH ROW
BEGIN
    INSERT INTO changes (what) VALUES ('settings:' || replace(replace(NEW.user_id, '%', '%25'), ':', '%3A')
        || ':' || replace(replace(NEW.platform_id, '%', '%25'), ':', '%3A'));
END;

CREATE TRIGGER tell_settings_delete AFTER DELETE ON user_settings FOR EACH ROW
BEGIN
    INSERT INTO changes (what) VALUES ('settings:' || replace(replace(OLD.user_id, '%', '%25'), ':', '%3A')
        || ':' || replace(replace(OLD.platform_id, '%', '%25'), ':', '%3A'));
END;

CREATE TRIGGER tell_settings_update AFTER UPDATE ON user_settings FOR EACH ROW
    WHEN OLD.user_id IS NOT NEW.user_id OR OLD.platform_id IS NOT NEW.platform_id OR OLD.settings IS NOT NEW.settings
BEGIN
    INSERT INTO changes (what) VALUES ('settings:' || replace(replace(OLD.user_id, '%', '%25'), ':', '%3A')
        || ':' || replace(replace(OLD.platform_id, '%', '%25'), ':', '%3A')),
        ('settings:' || replace(replace(NEW.user_id, '%', '%25'), ':', '%3A')
        || ':' || replace(replace(NEW.platform_id, '%', '%25'), ':', '%3A'));
END;

CREATE TRIGGER tell_session_update AFTER UPDATE ON sessions FOR EACH ROW
    WHEN OLD.user_id IS NOT NEW.user_id OR OLD.platform_id IS NOT NEW.platform_id OR OLD.authenticated_at IS NOT NEW.authenticated_at OR OLD.expires_at IS NOT NEW.expires_at OR OLD.ended_at IS NOT NEW.ended_at OR OLD.predecessor IS NOT NEW.predecessor OR OLD.successor IS NOT NEW.successor OR OLD.actor_id IS NOT NEW.actor_id OR OLD.version IS NOT NEW.version
BEGIN
    INSERT INTO changes (what) VALUES ('session:' || OLD.id);
END;

CREATE TRIGGER tell_session_delete AFTER DELETE ON sessions FOR EACH ROW
    WHEN OLD.ended_at IS NULL AND OLD.expires_at > (julianday('now') - 2440587.5) * 86400000
BEGIN
    INSERT INTO changes (what) VALUES ('session:' || OLD.id);
END;

-- Sessions that ended before this table was there.
INSERT INTO changes (what)
SELECT 'session:' || id FROM sessions WHERE ended_at IS NOT NULL AND expires_at > (julianday('now') - 2440587.5) * 86400000;
