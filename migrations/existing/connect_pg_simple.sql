-- Changes of the sessions of Express in `session` (connect-pg-simple). Apply tell.sql first. A session that is only
-- renewed is not told.

CREATE TRIGGER countersign_session_written AFTER INSERT OR DELETE ON session
    FOR EACH ROW EXECUTE FUNCTION countersign_tell_row('session', 'sid');
CREATE TRIGGER countersign_session_changed AFTER UPDATE ON session FOR EACH ROW
    WHEN (OLD.sess::text IS DISTINCT FROM NEW.sess::text OR NEW.expire < OLD.expire)
    EXECUTE FUNCTION countersign_tell_row('session', 'sid');
