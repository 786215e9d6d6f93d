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

-- counts changes: whoever changes a quota takes the next number, under this row's lock
CREATE TABLE revision (
  id SMALLINT NOT NULL PRIMARY KEY,
  value BIGINT NOT NULL
);
INSERT INTO revision (id, value) VALUES (1, 0);

-- whose limits: an account's (user_id is empty), or a user's in it
CREATE TABLE quotas (
  account VARCHAR(40) NOT NULL,
  user_id VARCHAR(40) NOT NULL,
  updated_ms BIGINT NOT NULL,
  version BIGINT NOT NULL,
  revision BIGINT NOT NULL,
  PRIMARY KEY (account, user_id)
);
CREATE INDEX quotas_revision ON quotas (revision);

CREATE TABLE quota_resources (
  account VARCHAR(40) NOT NULL,
  user_id VARCHAR(40) NOT NULL,
  resource VARCHAR(80) NOT NULL,
  guaranteed BIGINT,
  maximum BIGINT,
  PRIMARY KEY (account, user_id, resource),
  FOREIGN KEY (account, user_id) REFERENCES quotas (account, user_id)
);
