-- counts changes: whoever changes a job takes the next number, under this row's lock
CREATE TABLE revision (
  id SMALLINT NOT NULL PRIMARY KEY,
  value BIGINT NOT NULL
);
INSERT INTO revision (id, value) VALUES (1, 0);

-- facts about the database itself: its name, the cluster that its jobs were applied to, how far back deletions are known
CREATE TABLE meta (
  name VARCHAR(40) NOT NULL PRIMARY KEY,
  value VARCHAR(255) NOT NULL
);

-- one row an account, to be locked by whoever adds a job to its queue
CREATE TABLE account_rows (
  account VARCHAR(40) NOT NULL PRIMARY KEY,
  locked BIGINT NOT NULL
);

-- live_id is the id until the job is deleted, then NULL: an id is unique among the jobs that are there.
-- dirty is the outbox flag: the cluster does not have the job's current revision yet.
CREATE TABLE jobs (
  uid VARCHAR(36) NOT NULL PRIMARY KEY,
  account VARCHAR(40) NOT NULL,
  id VARCHAR(40) NOT NULL,
  live_id VARCHAR(40),
  creator VARCHAR(40) NOT NULL,
  body LONGBLOB NOT NULL,
  state VARCHAR(16) NOT NULL,
  cancelled BOOLEAN NOT NULL,
  revision BIGINT NOT NULL,
  dirty BOOLEAN NOT NULL,
  kube_uid VARCHAR(64),
  status LONGBLOB NOT NULL,
  created_ms BIGINT NOT NULL,
  ended_ms BIGINT,
  deleted_ms BIGINT,
  change_seq BIGINT NOT NULL
);
CREATE UNIQUE INDEX jobs_live ON jobs (account, live_id);
CREATE INDEX jobs_live_id ON jobs (live_id);
CREATE INDEX jobs_account_page ON jobs (account, created_ms, uid);
CREATE INDEX jobs_page ON jobs (created_ms, uid);
CREATE INDEX jobs_change ON jobs (change_seq);
CREATE INDEX jobs_dirty ON jobs (dirty, change_seq);
CREATE INDEX jobs_state ON jobs (state, account);
CREATE INDEX jobs_kube ON jobs (kube_uid);
CREATE INDEX jobs_deleted ON jobs (deleted_ms);

CREATE TABLE job_events (
  job VARCHAR(36) NOT NULL,
  sequence BIGINT NOT NULL,
  time_ms BIGINT NOT NULL,
  reason VARCHAR(64) NOT NULL,
  message LONGTEXT NOT NULL,
  PRIMARY KEY (job, sequence)
);
