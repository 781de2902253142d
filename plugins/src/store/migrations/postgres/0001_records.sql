-- Records as SQLite has them after its migrations 1 to 11. Texts compare by their octets, whatever
-- the server's language is, and a column stands for SQLite's rowid.
CREATE TABLE account (
    rowid                BIGINT GENERATED ALWAYS AS IDENTITY UNIQUE,
    id                   TEXT COLLATE "C" PRIMARY KEY,
    name                 TEXT COLLATE "C" NOT NULL,
    name_key             TEXT COLLATE "C" NOT NULL UNIQUE,
    state                TEXT COLLATE "C" NOT NULL,
    idle_secs            BIGINT,
    verification         TEXT COLLATE "C" NOT NULL,
    login_protection     BOOLEAN NOT NULL,
    operation_protection BOOLEAN NOT NULL,
    created_ms           BIGINT NOT NULL
);

CREATE TABLE principal (
    rowid          BIGINT GENERATED ALWAYS AS IDENTITY UNIQUE,
    id             TEXT COLLATE "C" PRIMARY KEY,
    account_id     TEXT COLLATE "C" NOT NULL REFERENCES account (id),
    sub_user       TEXT COLLATE "C",
    -- Empty for the account's own principal: NULLs would not be unique.
    sub_user_key   TEXT COLLATE "C" NOT NULL,
    display_name   TEXT COLLATE "C",
    email          TEXT COLLATE "C",
    phone          TEXT COLLATE "C",
    security_email TEXT COLLATE "C",
    language       TEXT COLLATE "C",
    role_list      TEXT COLLATE "C" NOT NULL,
    group_list     TEXT COLLATE "C" NOT NULL,
    state          TEXT COLLATE "C" NOT NULL,
    password_hash  TEXT COLLATE "C" NOT NULL,
    created_ms     BIGINT NOT NULL,
    UNIQUE (account_id, sub_user_key)
);

CREATE INDEX principal_phone ON principal (phone) WHERE phone IS NOT NULL;
CREATE INDEX principal_email ON principal (lower(email)) WHERE email IS NOT NULL;
CREATE INDEX principal_security_email ON principal (lower(security_email)) WHERE security_email IS NOT NULL;

CREATE TABLE secret (
    name  TEXT COLLATE "C" PRIMARY KEY,
    value BYTEA NOT NULL
);

-- What somebody can prove themselves with besides a password.
CREATE TABLE authenticator (
    rowid        BIGINT GENERATED ALWAYS AS IDENTITY UNIQUE,
    id           TEXT COLLATE "C" PRIMARY KEY,
    principal_id TEXT COLLATE "C" NOT NULL REFERENCES principal (id),
    kind         TEXT COLLATE "C" NOT NULL,
    name         TEXT COLLATE "C" NOT NULL,
    -- Encrypted, and bound to this row.
    secret       BYTEA NOT NULL,
    -- What it is found by where nobody has said who they are; nobody else's may have the same.
    lookup       TEXT COLLATE "C" UNIQUE,
    -- The last time step that was used (RFC 6238), or the last counter of a key.
    counter      BIGINT NOT NULL,
    created_ms   BIGINT NOT NULL,
    used_ms      BIGINT
);

CREATE INDEX authenticator_of_principal ON authenticator (principal_id, created_ms);

-- Hardware tokens that were imported and are nobody's yet.
CREATE TABLE token (
    rowid       BIGINT GENERATED ALWAYS AS IDENTITY UNIQUE,
    serial      TEXT COLLATE "C" PRIMARY KEY,
    -- Encrypted, and bound to the serial number.
    secret      BYTEA NOT NULL,
    imported_ms BIGINT NOT NULL
);

CREATE TABLE appeal (
    rowid        BIGINT GENERATED ALWAYS AS IDENTITY UNIQUE,
    id           TEXT COLLATE "C" PRIMARY KEY,
    principal_id TEXT COLLATE "C" NOT NULL REFERENCES principal (id),
    state        TEXT COLLATE "C" NOT NULL,
    -- Reason, contact and documents, encrypted, and bound to this row.
    sealed       BYTEA NOT NULL,
    created_ms   BIGINT NOT NULL,
    -- When it was decided, and when a granted one takes effect.
    decided_ms   BIGINT,
    effective_ms BIGINT
);

CREATE UNIQUE INDEX appeal_open ON appeal (principal_id) WHERE state IN ('open', 'granted');
CREATE INDEX appeal_state ON appeal (state, created_ms);

-- Messages that wait to be sent, and for a while what came of the others.
CREATE TABLE message (
    id         TEXT COLLATE "C" PRIMARY KEY,
    channel    TEXT COLLATE "C" NOT NULL,
    kind       TEXT COLLATE "C" NOT NULL,
    -- Encrypted; empty as soon as it is known what came of the message.
    body       BYTEA NOT NULL,
    -- waiting; handed (only its receiver knows what becomes of it); sent, failed, unclear, expired.
    state      TEXT COLLATE "C" NOT NULL,
    tries      BIGINT NOT NULL,
    -- When it may be tried next; while it is being tried, when that counts as broken off.
    due_ms     BIGINT NOT NULL,
    -- Not sent from then on.
    expires_ms BIGINT NOT NULL,
    -- Who tries it; empty: nobody.
    claim      TEXT COLLATE "C" NOT NULL
);

CREATE INDEX message_due ON message (channel, state, due_ms);

-- Recent sign-ins of each principal.
CREATE TABLE sign_in_history (
    rowid        BIGINT GENERATED ALWAYS AS IDENTITY UNIQUE,
    principal_id TEXT COLLATE "C" NOT NULL,
    at_ms        BIGINT NOT NULL,
    address      TEXT COLLATE "C" NOT NULL,
    -- Empty where it is not known.
    region       TEXT COLLATE "C" NOT NULL,
    device       TEXT COLLATE "C" NOT NULL,
    result       TEXT COLLATE "C" NOT NULL
);

CREATE INDEX sign_in_of_principal ON sign_in_history (principal_id, at_ms);
