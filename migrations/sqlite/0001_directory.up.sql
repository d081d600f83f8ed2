-- The directory in one file. Every time is an integer: milliseconds since the Unix epoch, UTC.
-- Roles and settings are JSON text. Text compares byte for byte.

CREATE TABLE users (
    id text NOT NULL PRIMARY KEY CHECK (length(CAST(id AS blob)) BETWEEN 1 AND 128),
    name text NOT NULL,
    roles text NOT NULL DEFAULT '[]' CHECK (json_type(roles) = 'array'),
    active boolean NOT NULL DEFAULT true,
    -- Sessions created before this moment are over.
    sessions_valid_after integer CHECK (sessions_valid_after >= 0),
    created_at integer NOT NULL DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000 AS integer))
);

CREATE TABLE platforms (
    id text NOT NULL PRIMARY KEY CHECK (length(CAST(id AS blob)) BETWEEN 1 AND 128),
    user_id text NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    type text NOT NULL,
    name text NOT NULL,
    url text NOT NULL,
    active boolean NOT NULL DEFAULT true,
    is_default boolean NOT NULL DEFAULT false,
    -- Sealed text, never the credential itself.
    credential text,
    last_used integer CHECK (last_used >= 0),
    created_at integer NOT NULL DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000 AS integer))
);

CREATE UNIQUE INDEX platforms_one_default ON platforms (user_id) WHERE is_default;
CREATE INDEX platforms_of_user ON platforms (user_id, is_default DESC, name, id);

CREATE TABLE sessions (
    -- base64url(SHA-256(token)).
    id text NOT NULL PRIMARY KEY CHECK (length(id) = 43),
    user_id text NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- No foreign key: a session whose platform is deleted must say so, not fall back to the default platform.
    platform_id text,
    created_at integer NOT NULL CHECK (created_at >= 0),
    authenticated_at integer NOT NULL CHECK (authenticated_at >= 0),
    expires_at integer NOT NULL CHECK (expires_at >= 0),
    ended_at integer CHECK (ended_at >= 0),
    last_seen integer CHECK (last_seen >= 0),
    predecessor text,
    successor text,
    actor_id text,
    version integer NOT NULL CHECK (version >= 0)
);

CREATE INDEX sessions_of_user ON sessions (user_id, created_at DESC);
CREATE INDEX sessions_on_platform ON sessions (platform_id) WHERE ended_at IS NULL;
CREATE INDEX sessions_over ON sessions (min(expires_at, ifnull(ended_at, expires_at)));

CREATE TABLE user_settings (
    user_id text NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    platform_id text NOT NULL REFERENCES platforms (id) ON DELETE CASCADE,
    settings text NOT NULL CHECK (json_valid(settings)),
    updated_at integer NOT NULL DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000 AS integer)),
    PRIMARY KEY (user_id, platform_id)
);

CREATE INDEX user_settings_of_platform ON user_settings (platform_id);

-- No foreign keys: the log outlives what it tells of.
CREATE TABLE audit (
    id integer PRIMARY KEY AUTOINCREMENT,
    at integer NOT NULL,
    event text NOT NULL,
    user_id text,
    session_id text,
    platform_id text,
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
    json_object(
        'sessions', (SELECT count(*) FROM sessions s WHERE s.platform_id = p.id AND s.ended_at IS NULL),
        'switches', (SELECT count(*) FROM audit a WHERE a.platform_id = p.id AND a.event = 'platform_switched'),
        'last_used', p.last_used
    ) AS stats
FROM platforms p;
