-- Index: job_state, covering.
SELECT state, count(*) FROM job INDEXED BY job_state GROUP BY tenant, state
