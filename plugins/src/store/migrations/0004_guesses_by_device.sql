-- A sign-in renames its browser: what was counted for it is found without reading all guesses.
CREATE INDEX guess_of_device ON guess (device) WHERE device <> '';
