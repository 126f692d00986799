-- Index: job_state, which holds all that is asked for.
SELECT state, count(*) FROM job GROUP BY tenant, state
