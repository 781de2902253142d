CREATE TABLE audit (
    sequence   INTEGER PRIMARY KEY,
    time_ms    INTEGER NOT NULL,
    event      TEXT NOT NULL,
    severity   TEXT NOT NULL,
    outcome    TEXT,
    principal  TEXT,
    account    TEXT,
    session    TEXT,
    address    TEXT,
    request_id TEXT,
    details    TEXT NOT NULL,
    prev       BLOB NOT NULL,
    hash       BLOB NOT NULL
);

CREATE INDEX audit_event ON audit (event, sequence);
CREATE INDEX audit_account ON audit (account, sequence);
CREATE INDEX audit_principal ON audit (principal, sequence);

-- Against accidents. Who means it can remove the trigger; the chain then shows what was done.
CREATE TRIGGER audit_append_only BEFORE UPDATE ON audit
BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;
