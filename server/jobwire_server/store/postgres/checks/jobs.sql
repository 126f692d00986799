-- Every job as `JobRow`, in the order of the keys. Index: job_pkey.
SELECT
  key, id, revision, sequence, state, attempt, max_attempts, fence,
  num_nonnulls(lease_expire_us, instance_id, transport),
  num_nonnulls(finish_us, purge_us)
FROM jobwire.job
ORDER BY key
