-- The directory. Every time is a bigint: milliseconds since the Unix epoch, UTC.
-- Ids are opaque text of 1 to 128 bytes without control characters; they compare byte for byte ("C").

CREATE TABLE users (
    id text COLLATE "C" PRIMARY KEY
        CHECK (octet_length(id) BETWEEN 1 AND 128 AND id !~ '[\u0001-\u001f\u007f-\u009f]'),
    name text NOT NULL,
    roles text[] NOT NULL DEFAULT '{}' CHECK (array_position(roles, NULL) IS NULL),
    active boolean NOT NULL DEFAULT true,
    -- Sessions created before this moment are over.
    sessions_valid_after bigint CHECK (sessions_valid_after >= 0),
    created_at bigint NOT NULL DEFAULT (extract(epoch FROM clock_timestamp()) * 1000)::bigint
);

CREATE TABLE platforms (
    id text COLLATE "C" PRIMARY KEY
        CHECK (octet_length(id) BETWEEN 1 AND 128 AND id !~ '[\u0001-\u001f\u007f-\u009f]'),
    user_id text COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    type text NOT NULL,
    name text NOT NULL,
    url text NOT NULL,
    active boolean NOT NULL DEFAULT true,
    is_default boolean NOT NULL DEFAULT false,
    -- Sealed text, never the credential itself.
    credential text,
    last_used bigint CHECK (last_used >= 0),
    created_at bigint NOT NULL DEFAULT (extract(epoch FROM clock_timestamp()) * 1000)::bigint
);

CREATE UNIQUE INDEX platforms_one_default ON platforms (user_id) WHERE is_default;
CREATE INDEX platforms_of_user ON platforms (user_id, is_default DESC, name COLLATE "C", id);

CREATE TABLE sessions (
    -- base64url(SHA-256(token)).
    id text COLLATE "C" PRIMARY KEY CHECK (id ~ '^[A-Za-z0-9_-]{43}$'),
    user_id text COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- No foreign key: a session whose platform is deleted must say so, not fall back to the default platform.
    platform_id text COLLATE "C",
    created_at bigint NOT NULL CHECK (created_at >= 0),
    authenticated_at bigint NOT NULL CHECK (authenticated_at >= 0),
    expires_at bigint NOT NULL CHECK (expires_at >= 0),
    ended_at bigint CHECK (ended_at >= 0),
    last_seen bigint CHECK (last_seen >= 0),
    -- No foreign keys: rotated sessions are purged one by one.
    predecessor text COLLATE "C",
    successor text COLLATE "C",
    actor_id text COLLATE "C",
    version bigint NOT NULL CHECK (version >= 0)
);

CREATE INDEX sessions_of_user ON sessions (user_id, created_at DESC);
CREATE INDEX sessions_on_platform ON sessions (platform_id) WHERE ended_at IS NULL;
CREATE INDEX sessions_over ON sessions (LEAST(expires_at, ended_at));

CREATE TABLE user_settings (
    user_id text COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    platform_id text COLLATE "C" NOT NULL REFERENCES platforms (id) ON DELETE CASCADE,
    settings jsonb NOT NULL,
    updated_at bigint NOT NULL DEFAULT (extract(epoch FROM clock_timestamp()) * 1000)::bigint,
    PRIMARY KEY (user_id, platform_id)
);

CREATE INDEX user_settings_of_platform ON user_settings (platform_id);

-- No foreign keys: the log outlives what it tells of.
CREATE TABLE audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at bigint NOT NULL,
    event text NOT NULL,
    user_id text COLLATE "C",
    session_id text COLLATE "C",
    platform_id text COLLATE "C",
    done_by text NOT NULL,
    address text,
    request_id text
);

CREATE INDEX audit_at ON audit (at);
CREATE INDEX audit_of_user ON audit (user_id, at);
CREATE INDEX audit_switches ON audit (platform_id) WHERE event = 'platform_switched';

CREATE VIEW platform_stats AS
SELECT
    p.user_id,
    p.id AS platform_id,
    jsonb_build_object(
        'sessions', (SELECT count(*) FROM sessions s WHERE s.platform_id = p.id AND s.ended_at IS NULL),
        'switches', (SELECT count(*) FROM audit a WHERE a.platform_id = p.id AND a.event = 'platform_switched'),
        'last_used', p.last_used
    ) AS stats
FROM platforms p;
