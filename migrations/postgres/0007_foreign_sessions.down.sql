DROP TABLE countersign_foreign_sessions;
DROP FUNCTION countersign_tell_foreign_session();
