CREATE TABLE account (
    id           TEXT PRIMARY KEY,
    name         TEXT NOT NULL,
    name_key     TEXT NOT NULL UNIQUE,
    state        TEXT NOT NULL,
    idle_secs    INTEGER,
    verification TEXT NOT NULL,
    created_ms   INTEGER NOT NULL
);

CREATE TABLE principal (
    id            TEXT PRIMARY KEY,
    account_id    TEXT NOT NULL REFERENCES account (id),
    sub_user      TEXT,
    -- Empty for the account's own principal: NULLs would not be unique.
    sub_user_key  TEXT NOT NULL,
    display_name  TEXT,
    email         TEXT,
    role_list     TEXT NOT NULL,
    group_list    TEXT NOT NULL,
    state         TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    created_ms    INTEGER NOT NULL,
    UNIQUE (account_id, sub_user_key)
);

CREATE TABLE session (
    token_hash   BLOB PRIMARY KEY,
    id           TEXT NOT NULL,
    principal_id TEXT NOT NULL,
    scope        TEXT NOT NULL,
    evidence     TEXT NOT NULL,
    device       TEXT NOT NULL,
    address      TEXT NOT NULL,
    created_ms   INTEGER NOT NULL,
    active_ms    INTEGER NOT NULL
);

CREATE TABLE secret (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
);
