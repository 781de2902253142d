-- Messages that wait to be sent, and for a while what came of the others.
CREATE TABLE message (
    id         TEXT PRIMARY KEY,
    channel    TEXT NOT NULL,
    kind       TEXT NOT NULL,
    -- Encrypted; empty as soon as it is known what came of the message.
    body       BLOB NOT NULL,
    -- waiting; handed (only its receiver knows what becomes of it); sent, failed, unclear, expired.
    state      TEXT NOT NULL,
    tries      INTEGER NOT NULL,
    -- When it may be tried next; while it is being tried, when that counts as broken off.
    due_ms     INTEGER NOT NULL,
    -- Not sent from then on.
    expires_ms INTEGER NOT NULL,
    -- Who tries it; empty: nobody.
    claim      TEXT NOT NULL
) WITHOUT ROWID;

CREATE INDEX message_due ON message (channel, state, due_ms);

-- The newest code of each purpose and challenge. No code stands here, only keyed hashes.
CREATE TABLE code (
    binding     TEXT PRIMARY KEY,
    hash        BLOB NOT NULL,
    destination TEXT NOT NULL,
    tries       INTEGER NOT NULL,
    expires_ms  INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX code_expires ON code (expires_ms);

-- When codes went to a destination, by its keyed hash.
CREATE TABLE code_sent (
    destination TEXT NOT NULL,
    at_ms       INTEGER NOT NULL
);

CREATE INDEX code_sent_to ON code_sent (destination, at_ms);
CREATE INDEX code_sent_at ON code_sent (at_ms);

-- Recent sign-ins of each principal.
CREATE TABLE sign_in_history (
    principal_id TEXT NOT NULL,
    at_ms        INTEGER NOT NULL,
    address      TEXT NOT NULL,
    -- Empty where it is not known.
    region       TEXT NOT NULL,
    device       TEXT NOT NULL,
    result       TEXT NOT NULL
);

CREATE INDEX sign_in_of_principal ON sign_in_history (principal_id, at_ms);
