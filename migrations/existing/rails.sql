-- Changes of the users of Rails with Devise, for config/mappings/rails.toml. Apply tell.sql first. Add the columns that your
-- mapping reads beside these, and a trigger for each further table.

CREATE TRIGGER countersign_user_written AFTER INSERT OR DELETE ON users
    FOR EACH ROW EXECUTE FUNCTION countersign_tell_row('user', 'id');
CREATE TRIGGER countersign_user_changed AFTER UPDATE ON users FOR EACH ROW
    WHEN ((OLD.id, OLD.email, OLD.locked_at) IS DISTINCT FROM (NEW.id, NEW.email, NEW.locked_at))
    EXECUTE FUNCTION countersign_tell_row('user', 'id');
