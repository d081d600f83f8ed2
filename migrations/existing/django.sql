-- Changes of Django's users, for config/mappings/django.toml. Apply tell.sql first. A login writes `last_login`: only what
-- the mapping reads is told, and that a password changed (`check_password`). Who has applied this file before that was in it
-- drops countersign_user_changed and makes it again.

CREATE OR REPLACE FUNCTION countersign_tell_group() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('countersign', 'user:' || user_id) FROM auth_user_groups
        WHERE group_id = CASE WHEN TG_OP = 'DELETE' THEN OLD.id ELSE NEW.id END;
    RETURN NULL;
END $$;

CREATE TRIGGER countersign_user_written AFTER INSERT OR DELETE ON auth_user
    FOR EACH ROW EXECUTE FUNCTION countersign_tell_row('user', 'id');
CREATE TRIGGER countersign_user_changed AFTER UPDATE ON auth_user FOR EACH ROW
    WHEN ((OLD.id, OLD.username, OLD.is_active, OLD.is_staff, OLD.is_superuser, OLD.password)
        IS DISTINCT FROM (NEW.id, NEW.username, NEW.is_active, NEW.is_staff, NEW.is_superuser, NEW.password))
    EXECUTE FUNCTION countersign_tell_row('user', 'id');
CREATE TRIGGER countersign_membership AFTER INSERT OR UPDATE OR DELETE ON auth_user_groups
    FOR EACH ROW EXECUTE FUNCTION countersign_tell_row('user', 'user_id');
CREATE TRIGGER countersign_group AFTER INSERT OR UPDATE OR DELETE ON auth_group
    FOR EACH ROW EXECUTE FUNCTION countersign_tell_group();
