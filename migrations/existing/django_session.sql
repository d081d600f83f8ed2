-- Changes of Django's sessions in `django_session`. Apply tell.sql first. A session that is only renewed is not told.

CREATE TRIGGER countersign_session_written AFTER INSERT OR DELETE ON django_session
    FOR EACH ROW EXECUTE FUNCTION countersign_tell_row('session', 'session_key');
CREATE TRIGGER countersign_session_changed AFTER UPDATE ON django_session FOR EACH ROW
    WHEN (OLD.session_data IS DISTINCT FROM NEW.session_data OR NEW.expire_date < OLD.expire_date)
    EXECUTE FUNCTION countersign_tell_row('session', 'session_key');
