-- one row a Pod whose output was read: how far, and what of it is kept.
-- place_ns and place_lines say where the last line is: its time, and how many lines of that very time were read;
-- resume_ns is the time from which the rest can be asked for without beginning in the middle of a line.
-- head_chunks is how many chunks make the kept head, 0 while it still grows; cut_* is what was dropped after it.
-- reading is 0 while it goes on, 1 once all was read, 2 if its Pod went before.
CREATE TABLE log_streams (
  pod VARCHAR(64) NOT NULL PRIMARY KEY,
  job VARCHAR(36) NOT NULL,
  attempt BIGINT NOT NULL,
  role VARCHAR(40) NOT NULL,
  replica BIGINT NOT NULL,
  begun_ms BIGINT NOT NULL,
  place_ns BIGINT NOT NULL,
  place_lines BIGINT NOT NULL,
  resume_ns BIGINT NOT NULL,
  next_chunk BIGINT NOT NULL,
  head_chunks BIGINT NOT NULL,
  text_bytes BIGINT NOT NULL,
  stored_bytes BIGINT NOT NULL,
  cut_lines BIGINT NOT NULL,
  cut_bytes BIGINT NOT NULL,
  reading BIGINT NOT NULL
);
CREATE INDEX log_streams_job ON log_streams (job, attempt);
CREATE INDEX log_streams_reading ON log_streams (reading);
CREATE INDEX log_streams_stored ON log_streams (stored_bytes);

-- a block of lines, compressed
CREATE TABLE log_chunks (
  pod VARCHAR(64) NOT NULL,
  sequence BIGINT NOT NULL,
  first_ns BIGINT NOT NULL,
  last_ns BIGINT NOT NULL,
  line_count BIGINT NOT NULL,
  text_bytes BIGINT NOT NULL,
  stored_bytes BIGINT NOT NULL,
  body LONGBLOB NOT NULL,
  PRIMARY KEY (pod, sequence)
);
