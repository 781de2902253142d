-- Until when a browser is not asked for a second factor at sign-in; zero: it is.
ALTER TABLE device ADD COLUMN trusted_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE device ADD COLUMN name TEXT NOT NULL DEFAULT '';
