-- Index: job_pkey, last entry.
SELECT max(key) FROM job
