-- Changes of Laravel's sessions in `sessions`. Apply tell.sql first. A session that is only used again is not told.

CREATE TRIGGER countersign_session_written AFTER INSERT OR DELETE ON sessions
    FOR EACH ROW EXECUTE FUNCTION countersign_tell_row('session', 'id');
CREATE TRIGGER countersign_session_changed AFTER UPDATE ON sessions FOR EACH ROW
    WHEN (OLD.payload IS DISTINCT FROM NEW.payload OR NEW.last_activity < OLD.last_activity)
    EXECUTE FUNCTION countersign_tell_row('session', 'id');
