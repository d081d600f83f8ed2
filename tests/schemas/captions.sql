-- The tables of the caption application, in the types of Postgres.
CREATE TABLE users (
    id serial PRIMARY KEY, username varchar(64) NOT NULL UNIQUE, email varchar(120) NOT NULL UNIQUE,
    password_hash varchar(255) NOT NULL, role varchar(20), is_active boolean, created_at timestamp, last_login timestamp,
    account_locked boolean, failed_login_attempts integer);
CREATE TABLE platform_connections (
    id serial PRIMARY KEY, user_id integer NOT NULL REFERENCES users (id), name varchar(100) NOT NULL,
    platform_type varchar(50) NOT NULL, instance_url varchar(500) NOT NULL, username varchar(200),
    access_token text NOT NULL, client_key text, client_secret text, is_active boolean, is_default boolean,
    created_at timestamp, updated_at timestamp, last_used timestamp, UNIQUE (user_id, name));
CREATE TABLE caption_generation_user_settings (
    id serial PRIMARY KEY, user_id integer NOT NULL REFERENCES users (id),
    platform_connection_id integer NOT NULL REFERENCES platform_connections (id), max_posts_per_run integer DEFAULT 50,
    max_caption_length integer DEFAULT 500, optimal_min_length integer DEFAULT 80, optimal_max_length integer DEFAULT 200,
    reprocess_existing boolean DEFAULT false, processing_delay double precision DEFAULT 1.0,
    UNIQUE (user_id, platform_connection_id));
INSERT INTO users (id, username, email, password_hash, role, is_active, account_locked) VALUES
    (42, 'ana', 'a@example.test', 'x', 'reviewer', true, false), (43, 'ben', 'b@example.test', 'x', NULL, true, true);
INSERT INTO platform_connections (id, user_id, name, platform_type, instance_url, access_token, is_active, is_default) VALUES
    (1, 42, 'Zed', 'pixelfed', 'https://z.example', 'x', true, true), (2, 42, 'Art', 'mastodon', 'https://a.example', 'x', true, true),
    (3, 42, 'Off', 'mastodon', 'https://o.example', 'x', false, NULL), (4, 42, 'Mid', 'mastodon', 'https://m.example', 'x', NULL, NULL);
INSERT INTO caption_generation_user_settings (user_id, platform_connection_id) VALUES (42, 1);
