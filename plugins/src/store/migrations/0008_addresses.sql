-- People are found by the addresses that reach them: to recover an account, and to know how many
-- accounts a phone has.
CREATE INDEX principal_phone ON principal (phone) WHERE phone IS NOT NULL;
CREATE INDEX principal_email ON principal (lower(email)) WHERE email IS NOT NULL;
CREATE INDEX principal_security_email ON principal (lower(security_email)) WHERE security_email IS NOT NULL;
