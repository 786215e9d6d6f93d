-- what lists filter and order by, beside the body that holds it; an empty class marks a row of before, which is filled in when the
-- service opens its tables. suspended_ms stays when a job ends: it says something only of jobs that have not.
ALTER TABLE jobs ADD COLUMN class VARCHAR(16) NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN priority BIGINT NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN suspended_ms BIGINT;

-- account and created_ms are the job's, so that a label's jobs are read in order from one index
CREATE TABLE job_labels (
  job VARCHAR(36) NOT NULL,
  name VARCHAR(63) NOT NULL,
  value VARCHAR(63) NOT NULL,
  account VARCHAR(40) NOT NULL,
  created_ms BIGINT NOT NULL,
  PRIMARY KEY (job, name)
);
CREATE INDEX job_labels_page ON job_labels (name, value, created_ms, job, account);

-- an account at the end of an index spares a look at the row
CREATE INDEX jobs_state_page ON jobs (state, created_ms, uid, account);
CREATE INDEX jobs_account_state_page ON jobs (account, state, created_ms, uid);
CREATE INDEX jobs_creator_page ON jobs (creator, created_ms, uid, account);
CREATE INDEX jobs_ended_page ON jobs (ended_ms, uid, account);
CREATE INDEX jobs_priority_page ON jobs (priority, uid, account);
