DROP TABLE job_events;
DROP TABLE jobs;
DROP TABLE account_rows;
DROP TABLE meta;
DROP TABLE revision;
