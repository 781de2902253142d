-- Requests that are kept while somebody signs in again, or approves them.
CREATE TABLE held (
    id           TEXT PRIMARY KEY,
    principal_id TEXT NOT NULL,
    -- Encrypted with a key that only the browser's cookie gives.
    sealed       BLOB NOT NULL,
    expires_ms   INTEGER NOT NULL
);

CREATE INDEX held_by ON held (principal_id, expires_ms);
CREATE INDEX held_expiry ON held (expires_ms);

-- Whose sessions have ended by themselves: who sends something with such a token is told that it is
-- kept until they have signed in again, and nobody else may go on with it.
CREATE TABLE expired_session (
    token_hash   BLOB PRIMARY KEY,
    principal_id TEXT NOT NULL,
    expired_ms   INTEGER NOT NULL
);

CREATE INDEX expired_when ON expired_session (expired_ms);
