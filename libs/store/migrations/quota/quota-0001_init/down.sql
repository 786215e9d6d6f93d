DROP TABLE quota_resources;
DROP TABLE quotas;
DROP TABLE revision;
DROP TABLE idempotency;
