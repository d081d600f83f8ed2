-- Changes of Laravel's users, for config/mappings/laravel.toml. Apply tell.sql first. Add the columns that your mapping
-- reads beside these, and a trigger for each further table.

CREATE TRIGGER countersign_user_written AFTER INSERT OR DELETE ON users
    FOR EACH ROW EXECUTE FUNCTION countersign_tell_row('user', 'id');
CREATE TRIGGER countersign_user_changed AFTER UPDATE ON users FOR EACH ROW
    WHEN ((OLD.id, OLD.name) IS DISTINCT FROM (NEW.id, NEW.name))
    EXECUTE FUNCTION countersign_tell_row('user', 'id');
