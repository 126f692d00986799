-- Indexes: job_state and, for the running jobs, job_lease; they hold all that is asked for.
SELECT state, count(*) FROM job WHERE state <> 3 GROUP BY tenant, state
UNION ALL
SELECT 3, count(*) FROM job WHERE state = 3 HAVING count(*) > 0
