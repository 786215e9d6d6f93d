DROP TABLE job_labels;
