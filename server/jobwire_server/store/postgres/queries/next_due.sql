-- When the next job is due. Index: job_due, first entry.
SELECT min(due_us) FROM job WHERE state IN (1, 4)
