ALTER TABLE account ADD COLUMN login_protection INTEGER NOT NULL DEFAULT 0;
ALTER TABLE account ADD COLUMN operation_protection INTEGER NOT NULL DEFAULT 1;
ALTER TABLE principal ADD COLUMN phone TEXT;
ALTER TABLE principal ADD COLUMN security_email TEXT;
ALTER TABLE principal ADD COLUMN language TEXT;

-- What somebody can prove themselves with besides a password.
CREATE TABLE authenticator (
    id           TEXT PRIMARY KEY,
    principal_id TEXT NOT NULL REFERENCES principal (id),
    kind         TEXT NOT NULL,
    name         TEXT NOT NULL,
    -- Encrypted, and bound to this row.
    secret       BLOB NOT NULL,
    -- What it is found by where nobody has said who they are; nobody else's may have the same.
    lookup       TEXT UNIQUE,
    -- The last time step that was used (RFC 6238), or the last counter of a key.
    counter      INTEGER NOT NULL,
    created_ms   INTEGER NOT NULL,
    used_ms      INTEGER
);

CREATE INDEX authenticator_of_principal ON authenticator (principal_id, created_ms);

-- What somebody was asked for and has not given yet: the second step of a sign-in, an approval, the
-- binding of an authenticator.
CREATE TABLE challenge (
    id           TEXT PRIMARY KEY,
    purpose      TEXT NOT NULL,
    -- The session, or the hash of a token, that alone can meet it.
    bound_to     TEXT NOT NULL,
    principal_id TEXT NOT NULL,
    -- Encrypted, and bound to this row.
    state        BLOB NOT NULL,
    version      INTEGER NOT NULL,
    tries        INTEGER NOT NULL,
    created_ms   INTEGER NOT NULL,
    expires_ms   INTEGER NOT NULL
);

CREATE INDEX challenge_of_whom ON challenge (bound_to, purpose, created_ms);
CREATE INDEX challenge_expiry ON challenge (expires_ms);
