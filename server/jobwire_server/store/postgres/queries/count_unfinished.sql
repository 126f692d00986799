-- Jobs that have not ended. Index: job_state, the entries of these states.
SELECT count(*) FROM job WHERE state IN (1, 2, 3, 4, 9)
