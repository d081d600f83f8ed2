-- As the migration of Devise makes it, with trackable and lockable.
CREATE TABLE users (
    id bigserial NOT NULL PRIMARY KEY, email character varying DEFAULT '' NOT NULL,
    encrypted_password character varying DEFAULT '' NOT NULL, reset_password_token character varying,
    reset_password_sent_at timestamp(6) without time zone, remember_created_at timestamp(6) without time zone,
    sign_in_count integer DEFAULT 0 NOT NULL, failed_attempts integer DEFAULT 0 NOT NULL, unlock_token character varying,
    locked_at timestamp(6) without time zone, created_at timestamp(6) without time zone NOT NULL,
    updated_at timestamp(6) without time zone NOT NULL);
CREATE UNIQUE INDEX index_users_on_email ON users (email);
INSERT INTO users (id, email, locked_at, created_at, updated_at) VALUES
    (42, 'ana@example.test', NULL, now(), now()), (43, 'ben@example.test', now(), now(), now());
