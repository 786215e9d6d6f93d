-- a deleted user or account stays as a stone: its id is never given again, since jobs and logs go by it
ALTER TABLE users ADD COLUMN deleted_ms BIGINT;
ALTER TABLE accounts ADD COLUMN deleted_ms BIGINT;
CREATE INDEX accounts_parent ON accounts (parent);

-- the account that the user acts in where a client names none; may name one that the user is no longer in
ALTER TABLE users ADD COLUMN acting_account VARCHAR(40);
ALTER TABLE users ADD COLUMN last_login_ms BIGINT;

-- when the epoch last grew: tokens of before are in date for some minutes after it
ALTER TABLE users ADD COLUMN epoch_ms BIGINT NOT NULL DEFAULT 0;

-- the display name in lower case, for searching
ALTER TABLE users ADD COLUMN search_name VARCHAR(512) NOT NULL DEFAULT '';
UPDATE users SET search_name = LOWER(display_name);
