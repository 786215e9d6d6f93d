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
