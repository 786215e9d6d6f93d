-- what a job held from one moment to another; until_ms is NULL while it goes on
CREATE TABLE usage_spans (
  job VARCHAR(36) NOT NULL,
  number BIGINT NOT NULL,
  attempt BIGINT NOT NULL,
  from_ms BIGINT NOT NULL,
  until_ms BIGINT,
  replicas BIGINT NOT NULL,
  cpu_millis BIGINT NOT NULL,
  memory_bytes BIGINT NOT NULL,
  gpu_millis BIGINT NOT NULL,
  nodes LONGBLOB NOT NULL,
  outcome VARCHAR(40) NOT NULL,
  PRIMARY KEY (job, number)
);
