-- Changes that the caption application makes, for config/mappings/captions.toml. Apply tell.sql first. `last_used` and the
-- like are written often and are not told.

CREATE TRIGGER countersign_user_written AFTER INSERT OR DELETE ON users
    FOR EACH ROW EXECUTE FUNCTION countersign_tell_row('user', 'id');
CREATE TRIGGER countersign_user_changed AFTER UPDATE ON users FOR EACH ROW
    WHEN ((OLD.id, OLD.username, OLD.role, OLD.is_active, OLD.account_locked)
        IS DISTINCT FROM (NEW.id, NEW.username, NEW.role, NEW.is_active, NEW.account_locked))
    EXECUTE FUNCTION countersign_tell_row('user', 'id');
CREATE TRIGGER countersign_platform_written AFTER INSERT OR DELETE ON platform_connections
    FOR EACH ROW EXECUTE FUNCTION countersign_tell_row('platform', 'id', 'user_id');
CREATE TRIGGER countersign_platform_changed AFTER UPDATE ON platform_connections FOR EACH ROW
    WHEN ((OLD.id, OLD.user_id, OLD.platform_type, OLD.name, OLD.instance_url, OLD.is_active, OLD.is_default,
            OLD.access_token) IS DISTINCT FROM
        (NEW.id, NEW.user_id, NEW.platform_type, NEW.name, NEW.instance_url, NEW.is_active, NEW.is_default,
            NEW.access_token))
    EXECUTE FUNCTION countersign_tell_row('platform', 'id', 'user_id');
CREATE TRIGGER countersign_settings AFTER INSERT OR UPDATE OR DELETE ON caption_generation_user_settings
    FOR EACH ROW EXECUTE FUNCTION countersign_tell_row('settings', 'user_id', 'platform_connection_id');
