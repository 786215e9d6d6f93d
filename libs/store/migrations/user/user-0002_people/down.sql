ALTER TABLE users DROP COLUMN search_name;
ALTER TABLE users DROP COLUMN epoch_ms;
ALTER TABLE users DROP COLUMN last_login_ms;
ALTER TABLE users DROP COLUMN acting_account;
DROP INDEX accounts_parent;
ALTER TABLE accounts DROP COLUMN deleted_ms;
ALTER TABLE users DROP COLUMN deleted_ms;
