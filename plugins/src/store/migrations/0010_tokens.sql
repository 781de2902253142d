-- Hardware tokens that were imported and are nobody's yet.
CREATE TABLE token (
    serial      TEXT PRIMARY KEY,
    -- Encrypted, and bound to the serial number.
    secret      BLOB NOT NULL,
    imported_ms INTEGER NOT NULL
);
