-- Changes of Django's users, for config/mappings/django.toml. Apply tell.sql first. A login writes `last_login`: only what
-- the mapping reads is told.

CREATE OR REPLACE FUNCTION countersign_tell_group() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('countersign', 'user:' || user_id) FROM auth_user_groups
        WHERE group_id = CASE WHEN TG_OP = 'DELETE' THEN OLD.id ELSE NEW.id END;
    RETURN NULL;
END $$;

CREATE TRIGGER countersign_user_written AFTER INSERT OR DELETE ON auth_user
    FOR EACH ROW EXECUTE FUNCTION countersign_tell_row('user', 'id');
CREATE TRIGGER countersign_user_changed AFTER UPDATE ON auth_user FOR EACH ROW
    WHEN ((OLD.id, OLD.username, OLD.is_active, OLD.is_staff, OLD.is_superuser)
        IS DISTINCT FROM (NEW.id, NEW.username, NEW.is_active, NEW.is_staff, NEW.is_superuser))
    EXECUTE FUNCTION countersign_tell_row('user', 'id');
CREATE TRIGGER countersign_membership AFTER INSERT OR UPDATE OR DELETE ON auth_user_groups
    FOR EACH ROW EXECUTE FUNCTION countersign_tell_row('user', 'user_id');
CREATE TRIGGER countersign_group AFTER INSERT OR UPDATE OR DELETE ON auth_group
    FOR EACH ROW EXECUTE FUNCTION countersign_tell_group();
