-- One account's jobs by their end.
CREATE INDEX jobs_account_ended_page ON jobs (account, ended_ms, uid);
