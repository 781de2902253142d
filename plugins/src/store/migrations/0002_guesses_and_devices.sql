-- Wrong guesses. One row for each principal, or name that nobody has, authenticator, and circle of
-- clients: all strangers, or one device.
CREATE TABLE guess (
    -- A principal's id, or a keyed hash of a name that nobody has.
    subject   TEXT NOT NULL,
    kind      TEXT NOT NULL,
    -- Empty for strangers: NULLs would not be unique.
    device    TEXT NOT NULL,
    known     INTEGER NOT NULL,
    first_ms  INTEGER NOT NULL,
    in_window INTEGER NOT NULL,
    in_row    INTEGER NOT NULL,
    PRIMARY KEY (subject, kind, device)
) WITHOUT ROWID;

CREATE INDEX guess_of_nobody ON guess (in_window, first_ms) WHERE known = 0;

-- For whom a browser has signed in.
CREATE TABLE device (
    id           TEXT NOT NULL,
    principal_id TEXT NOT NULL,
    active_ms    INTEGER NOT NULL,
    expires_ms   INTEGER NOT NULL,
    PRIMARY KEY (id, principal_id)
) WITHOUT ROWID;

CREATE INDEX device_of_principal ON device (principal_id, active_ms);
