CREATE TABLE appeal (
    id           TEXT PRIMARY KEY,
    principal_id TEXT NOT NULL REFERENCES principal (id),
    state        TEXT NOT NULL,
    -- Reason, contact and documents, encrypted, and bound to this row.
    sealed       BLOB NOT NULL,
    created_ms   INTEGER NOT NULL,
    -- When it was decided, and when a granted one takes effect.
    decided_ms   INTEGER,
    effective_ms INTEGER
);

CREATE UNIQUE INDEX appeal_open ON appeal (principal_id) WHERE state IN ('open', 'granted');
CREATE INDEX appeal_state ON appeal (state, created_ms);
