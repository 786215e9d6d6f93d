CREATE TABLE idempotency (
  principal VARCHAR(120) NOT NULL,
  method VARCHAR(60) NOT NULL,
  request_id VARCHAR(36) NOT NULL,
  body_hash VARBINARY(32) NOT NULL,
  response LONGBLOB NOT NULL,
  created_ms BIGINT NOT NULL,
  PRIMARY KEY (principal, method, request_id)
);
CREATE INDEX idempotency_created ON idempotency (created_ms);

-- counts changes: whoever changes a user or an account takes the next number, under this row's lock
CREATE TABLE revision (
  id SMALLINT NOT NULL PRIMARY KEY,
  value BIGINT NOT NULL
);
INSERT INTO revision (id, value) VALUES (1, 0);

CREATE TABLE users (
  id VARCHAR(40) NOT NULL PRIMARY KEY,
  display_name VARCHAR(256) NOT NULL,
  password_hash VARCHAR(256) NOT NULL,
  suspended BOOLEAN NOT NULL,
  platform_admin BOOLEAN NOT NULL,
  created_ms BIGINT NOT NULL,
  version BIGINT NOT NULL,
  epoch BIGINT NOT NULL,
  revision BIGINT NOT NULL
);
CREATE INDEX users_revision ON users (revision);

CREATE TABLE accounts (
  id VARCHAR(40) NOT NULL PRIMARY KEY,
  display_name VARCHAR(256) NOT NULL,
  parent VARCHAR(40),
  created_ms BIGINT NOT NULL,
  version BIGINT NOT NULL,
  revision BIGINT NOT NULL,
  FOREIGN KEY (parent) REFERENCES accounts (id)
);
CREATE INDEX accounts_revision ON accounts (revision);

CREATE TABLE members (
  account VARCHAR(40) NOT NULL,
  user_id VARCHAR(40) NOT NULL,
  manager BOOLEAN NOT NULL,
  PRIMARY KEY (account, user_id),
  FOREIGN KEY (account) REFERENCES accounts (id),
  FOREIGN KEY (user_id) REFERENCES users (id)
);
CREATE INDEX members_user ON members (user_id);

-- a session is a family of refresh tokens; each is used once
CREATE TABLE sessions (
  id VARCHAR(36) NOT NULL PRIMARY KEY,
  user_id VARCHAR(40) NOT NULL,
  created_ms BIGINT NOT NULL,
  expires_ms BIGINT NOT NULL,
  revoked_ms BIGINT,
  FOREIGN KEY (user_id) REFERENCES users (id)
);
CREATE INDEX sessions_user ON sessions (user_id);
CREATE INDEX sessions_expires ON sessions (expires_ms);

CREATE TABLE refresh_tokens (
  secret_hash VARBINARY(32) NOT NULL PRIMARY KEY,
  session VARCHAR(36) NOT NULL,
  used_ms BIGINT,
  FOREIGN KEY (session) REFERENCES sessions (id)
);
CREATE INDEX refresh_tokens_session ON refresh_tokens (session);

CREATE TABLE signing_keys (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  seed VARBINARY(32) NOT NULL,
  public_key VARBINARY(32) NOT NULL,
  created_ms BIGINT NOT NULL
);
