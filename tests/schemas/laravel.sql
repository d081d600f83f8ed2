-- As the migration of Laravel 11 makes it.
CREATE TABLE users (
    id bigserial NOT NULL PRIMARY KEY, name varchar(255) NOT NULL, email varchar(255) NOT NULL UNIQUE,
    email_verified_at timestamp(0) without time zone, password varchar(255) NOT NULL, remember_token varchar(100),
    created_at timestamp(0) without time zone, updated_at timestamp(0) without time zone);
CREATE TABLE sessions (
    id varchar(255) NOT NULL PRIMARY KEY, user_id bigint, ip_address varchar(45), user_agent text,
    payload text NOT NULL, last_activity integer NOT NULL);
CREATE INDEX sessions_user_id_index ON sessions (user_id);
CREATE INDEX sessions_last_activity_index ON sessions (last_activity);
INSERT INTO users (id, name, email, password) VALUES (42, 'Ana', 'ana@example.test', 'x');
