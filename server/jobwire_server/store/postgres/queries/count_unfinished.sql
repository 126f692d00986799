-- Jobs that have not ended. Indexes: job_claim, job_due, job_lease, which hold those that wait, will wait, or run; the
-- others are entries of job_state.
SELECT
  (SELECT count(*) FROM job WHERE state = 2)
  + (SELECT count(*) FROM job WHERE state IN (1, 4))
  + (SELECT count(*) FROM job WHERE state = 3)
  + (SELECT count(*) FROM job WHERE state = 9)
